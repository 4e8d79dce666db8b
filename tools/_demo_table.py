"""The demo's table: what was measured, by whom, on what."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_HEADER = (
    '| | Params | GMACs (dense + sparse) | ms / frame | mAP | NDS | Training |\n'
    '|---|---:|---:|---:|---:|---:|---:|\n'
)


@dataclass(frozen=True)
class Row:
    """One trained model of the table.

    Args:
        label (str): what the row is called.
        network (str): config of the plain detector, as named in ``compare.json``.
        test_dir (Path): work dir of its evaluation.
        training_s (float): wall time of its training, in seconds.
    """

    label: str
    network: str
    test_dir: Path
    training_s: float


def write_table(rows: Sequence[Row], folder: Path, seed: int, quick: bool) -> str:
    """Write ``table.md`` and ``table.json`` into a folder.

    Args:
        rows (Sequence[Row]): the rows, in their order.
        folder (Path): holds ``compare.json``, and gets the two files.
        seed (int): seed of the training runs.
        quick (bool): whether this was the short run, whose accuracies mean nothing.

    Returns:
        str: the table and its origin, in Markdown.

    Raises:
        FileNotFoundError: an evaluation left no metrics.
    """
    compared = json.loads((folder / 'compare.json').read_text())
    content = {
        **describe_run(),
        'seed': seed,
        'quick': quick,
        'rows': [
            {
                'name': row.label,
                'training_s': row.training_s,
                **compared[row.network],
                **read_accuracy(row.test_dir),
            }
            for row in rows
        ],
    }
    (folder / 'table.json').write_text(json.dumps(content, indent=2) + '\n')
    markdown = as_markdown(content)
    (folder / 'table.md').write_text(markdown)
    return markdown


def as_markdown(content: dict[str, Any]) -> str:
    """Format what ``write_table`` has gathered."""
    lines = [_HEADER.rstrip('\n')]
    for row in content['rows']:
        dense, sparse = row['dense_macs'] / 1e9, row['sparse_macs'] / 1e9
        lines.append(
            f'| {row["name"]} | {row["params"] / 1e6:.3f} M '
            f'| {dense + sparse:.2f} ({dense:.2f} + {sparse:.2f}) | {row["ms_per_frame"]:.0f} '
            f'| {row["mAP"]:.3f} | {row["NDS"]:.3f} | {row["training_s"] / 60:.1f} min |'
        )
    quick = (
        ' A quick run: it proves the chain, its accuracies mean nothing.'
        if content['quick']
        else ''
    )
    lines += [
        '',
        f'Measured by `make demo` at commit {content["commit"]}, seed {content["seed"]}, '
        f'on {content["date"]}: {content["machine"]}, torch {content["torch"]}. '
        f'Time per frame is the median of `test_step` (voxelisation, network, decoding) on '
        f'{content["device"]}, the models taking turns on the same frames.{quick}',
        '',
    ]
    return '\n'.join(lines)


def read_accuracy(test_dir: Path) -> dict[str, float]:
    """Read mAP and NDS from the newest metrics file of an evaluation.

    Args:
        test_dir (Path): work dir that ``tools/test.py`` wrote to.

    Raises:
        FileNotFoundError: no file there holds both.
    """
    newest_first = sorted(test_dir.glob('*/*.json'), key=lambda path: path.stat().st_mtime)[::-1]
    for path in newest_first:
        found = find_accuracy(json.loads(path.read_text()))
        if len(found) == 2:
            return found
    raise FileNotFoundError(f'No metrics file with mAP and NDS under {test_dir}.')


def find_accuracy(metrics: dict[str, Any]) -> dict[str, float]:
    """Pick mAP and NDS, under their plain names, out of what a metric returned."""
    return {
        name: value
        for key, value in metrics.items()
        for name in ('mAP', 'NDS')
        if key.rsplit('/', 1)[-1] == name
    }


def describe_run() -> dict[str, str]:
    """Commit, date, machine and software of this run."""
    import torch

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
    """Short hash of HEAD, with ``-dirty`` where tracked files differ from it."""
    if shutil.which('git') is None:
        return 'unknown'
    command = ['git', 'describe', '--always', '--dirty', '--abbrev=10', '--exclude=*']
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return result.stdout.strip() or 'unknown'


def _cpu_name() -> str:
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()
