"""The table of experiments, as a user makes it from results that are there."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def report(work_dir, *options):
    command = [sys.executable, 'tools/experiments.py', '--report-only', '--work-dir', str(work_dir)]
    return subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_results_become_a_table_a_picture_and_a_place_in_a_page(tmp_path):
    for name, values in (('alone', [0.6, 0.62]), ('taught', [0.7, 0.71])):
        for seed, value in enumerate(values):
            folder = tmp_path / 'runs' / name / f'seed_{seed}'
            folder.mkdir(parents=True)
            content = dict(
                config=dict(model=dict(type='Plain')),
                test=dict(top1=value),
                parameters=dict(total=1000),
            )
            (folder / 'results.json').write_text(json.dumps(content))
    page = tmp_path / 'page.md'
    page.write_text('before\n<!-- experiments -->\n<!-- /experiments -->\nafter\n')
    options = ('--metrics', 'top1', '--against', 'alone', '--update-readme', str(page))
    done = report(tmp_path / 'runs', *options)
    assert done.returncode == 0, done.stderr
    row = '| taught | - | 0.001 M | 2 | 0.705 ± 0.007 | **+0.095 [+0.031, +0.159]** |'
    for text in (done.stdout, page.read_text(), (tmp_path / 'runs/experiments.md').read_text()):
        assert row in text
    assert 'over seeds 0, 1' in page.read_text()
    assert (tmp_path / 'runs/experiments.png').read_bytes().startswith(b'\x89PNG')


def test_no_results_end_with_a_sentence(tmp_path):
    done = report(tmp_path)
    assert done.returncode == 1
    assert 'expected NAME/seed_N/results.json' in done.stderr
    assert 'Traceback' not in done.stderr
