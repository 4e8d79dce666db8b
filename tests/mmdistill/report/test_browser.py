"""The page in a browser: nothing is complained of, every section is there, pictures are decoded."""

import base64
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from matplotlib import image

from mmdistill.report import Picture, Section, build_page, read_runs, render

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)

LOOK = """<script>
window.addEventListener('load', () => {
  const size = (e) => [e.getBoundingClientRect().width, e.getBoundingClientRect().height];
  const all = (name) => Array.from(document.querySelectorAll(name));
  const seen = {
    sections: Object.fromEntries(all('section').map((e) => [e.id, size(e)])),
    drawings: all('figure svg').map(size),
    pictures: all('img').map((e) => [e.complete, e.naturalWidth, e.naturalHeight]),
    ground: getComputedStyle(document.body).backgroundColor,
    overflow: document.documentElement.scrollWidth - window.innerWidth,
  };
  const told = btoa(JSON.stringify(seen));
  document.body.insertAdjacentHTML('beforeend', `<pre id="seen">${told}</pre>`);
});
</script>"""


@pytest.fixture(scope='module')
def page(trained):
    page = build_page(read_runs([str(trained)]), frames=2)
    file = io.BytesIO()
    image.imsave(file, np.random.default_rng(0).random((20, 30)))
    page.sections.append(Section('pictures', 'Samples', blocks=[Picture(file.getvalue(), 'noise')]))
    return page


@pytest.mark.skipif(BROWSER is None, reason=f'no browser: none of {", ".join(NAMES)}')
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_a_browser_shows_all_of_it_and_complains_of_nothing(page, scheme, tmp_path):
    file = tmp_path / 'page.html'
    file.write_text(render(page) + LOOK)
    done = subprocess.run(
        [BROWSER, '--headless', '--no-sandbox', '--disable-gpu', f'--user-data-dir={tmp_path}/own']
        + ['--enable-logging=stderr', '--window-size=1120,900', '--virtual-time-budget=4000']
        + [f'--blink-settings=preferredColorScheme={int(scheme == "light")}']
        + ['--dump-dom', f'file://{file}'],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not [line for line in done.stderr.splitlines() if 'CONSOLE' in line]
    seen = re.search(r'<pre id="seen">([\w+/=]+)</pre>', done.stdout)[1]
    seen = json.loads(base64.b64decode(seen))
    assert list(seen['sections']) == [section.key for section in page.sections]
    for width, height in (*seen['sections'].values(), *seen['drawings']):
        assert width > 300 and height > 60
    assert seen['pictures'] == [[True, 30, 20]]
    assert len(seen['drawings']) >= 2
    assert seen['overflow'] <= 0
    assert seen['ground'] == dict(light='rgb(245, 247, 250)', dark='rgb(13, 17, 23)')[scheme]
