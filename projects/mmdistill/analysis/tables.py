"""Where the numbers of a table come from, and its place in a Markdown file."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
from pathlib import Path

import torch


def describe_run() -> dict[str, str]:
    """Commit, date, machine and software of this run."""
    cuda = torch.cuda.is_available()
    threads = os.environ.get('OMP_NUM_THREADS', 'all')
    return {
        'commit': _commit(),
        'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d'),
        'machine': f'{_cpu_name()}, {os.cpu_count()} cores',
        'device': torch.cuda.get_device_name() if cuda else f'CPU with {threads} thread(s)',
        'torch': torch.__version__,
        'python': platform.python_version(),
    }


def update_readme(readme: Path, table: str, marker: str = 'demo-table') -> None:
    """Replace what stands between a table's markers in a Markdown file.

    Args:
        readme (Path): the file.
        table (str): the new content.
        marker (str): the table stands between ``<!-- marker -->`` and ``<!-- /marker -->``.

    Raises:
        ValueError: the markers are not there, once each and in order.
    """
    text = readme.read_text(encoding='utf-8')
    begin, end = f'<!-- {marker} -->', f'<!-- /{marker} -->'
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f'{readme} must have {begin} and then {end}, once each.')
    before, rest = text.split(begin)
    _, after = rest.split(end)
    readme.write_text(f'{before}{begin}\n{table.rstrip()}\n{end}{after}', encoding='utf-8')


def _commit() -> str:
    """Short hash of HEAD, with ``-dirty`` where tracked files other than pages differ from it."""
    if shutil.which('git') is None:
        return 'unknown'
    commit = _git('rev-parse', '--short=10', 'HEAD')
    changed = _git('diff', '--name-only', 'HEAD', '--', ':(top)', ':(top,exclude)*.md')
    return f'{commit}-dirty' if changed else commit or 'unknown'


def _git(*arguments: str) -> str:
    """What git prints here; nothing where this is no checkout."""
    result = subprocess.run(
        ['git', *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return result.stdout.strip()


def _cpu_name() -> str:
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()
