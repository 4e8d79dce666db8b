"""The table and the plot of compare_models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools._demo_table import find_accuracy, read_accuracy

_HEADER = (
    '| config | parameters | GMACs (dense + sparse) | ms / frame (quartiles) '
    '| processor ms | peak memory | mAP | NDS |\n'
    '|---|---:|---:|---:|---:|---:|---:|---:|'
)


def as_markdown(result: Mapping[str, Mapping[str, Any]], run: Mapping[str, str]) -> str:
    """Format costs and accuracies of models, relative to the first.

    Args:
        result (Mapping): costs and accuracies by config.
        run (Mapping): what ``describe_run`` says, and ``frames``.
    """
    rows = list(result.items())
    first = rows[0][1]
    lines = [_HEADER, *(_line(path, row, first) for path, row in rows)]
    lines += [
        '',
        f'Measured by `tools/analysis/compare_models.py` at commit {run["commit"]} on '
        f'{run["date"]}: {run["machine"]}, torch {run["torch"]}, {run["device"]}, on '
        f'{run["frames"]}. Time is the median of `test_step` (voxelisation, network, decoding), '
        'the models taking turns; processor time leaves out what other programs on the machine '
        'took, so without a GPU it is the one to compare; peak memory is weights and what a frame '
        'adds at most.',
        '',
    ]
    return '\n'.join(lines)


def read_result(path: str | None) -> dict[str, float]:
    """Read mAP and NDS of an evaluation.

    Args:
        path (str, optional): metrics file (one JSON object, or one a line as in MMEngine's
            ``scalars.json``, of which the last with both counts) or work dir of ``test.py``; None
            or ``-`` for none.

    Returns:
        dict: ``mAP`` and ``NDS``, or nothing.

    Raises:
        FileNotFoundError: there is no such file, or it does not hold both.
    """
    if path in (None, '-'):
        return {}
    if Path(path).is_dir():
        return read_accuracy(Path(path))
    text = Path(path).read_text()
    try:
        contents = [json.loads(text)]
    except json.JSONDecodeError:
        contents = [json.loads(line) for line in text.splitlines() if line.strip()]
    for content in reversed(contents):
        accuracy = find_accuracy(content)
        if len(accuracy) == 2:
            return accuracy
    raise FileNotFoundError(f'{path} holds no mAP and NDS.')


def draw(models: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw accuracy over milliseconds per frame; the area of a mark grows with the parameters.

    Args:
        models (Mapping): costs and accuracies by config; each has ``mAP`` and ``NDS``.
        path (Path): PNG file to write.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    for metric, color in (('mAP', 'tab:blue'), ('NDS', 'tab:orange')):
        axes.scatter(
            [row['ms_per_frame'] for row in models.values()],
            [row[metric] for row in models.values()],
            s=[20 + 20 * row['params'] / 1e6 for row in models.values()],
            color=color,
            label=metric,
        )
    for name, row in models.items():
        place = (row['ms_per_frame'], row['mAP'])
        axes.annotate(_label(name), place, xytext=(6, -10), textcoords='offset points', fontsize=8)
    axes.set(xlabel='ms / frame', ylabel='accuracy', xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150, bbox_inches='tight')
    plt.close(figure)


def _line(path: str, row: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    dense, sparse = row['dense_macs'] / 1e9, row['sparse_macs'] / 1e9
    whole = (first['dense_macs'] + first['sparse_macs']) / 1e9
    low, high = row['ms_quartiles']
    peak = f'{row["peak_bytes"] / 2**20:.0f} MiB' if row.get('peak_bytes') else ''
    accuracy = [f'{row[name]:.3f}' if name in row else '' for name in ('mAP', 'NDS')]
    cells = [
        f'`{_label(path)}`',
        f'{row["params"] / 1e6:.2f} M ({_percent(row["params"], first["params"])})',
        f'{dense + sparse:.1f} ({dense:.1f} + {sparse:.1f}; {_percent(dense + sparse, whole)})',
        f'{row["ms_per_frame"]:.0f} ({low:.0f} .. {high:.0f})',
        _relative(row['processor_ms_per_frame'], first['processor_ms_per_frame']),
        peak,
        *accuracy,
    ]
    return '| ' + ' | '.join(cells) + ' |'


def _relative(value: float, whole: float) -> str:
    return f'{value:.0f} ({_percent(value, whole)})'


def _percent(value: float, whole: float) -> str:
    return f'{100 * value / whole:.0f} %' if whole else '-'


def _label(path: str) -> str:
    return Path(path).stem
