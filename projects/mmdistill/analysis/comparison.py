"""Models on the same frames: what each costs, as numbers, a table and a plot."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmdistill.analysis.complexity import count
from mmdistill.analysis.memory import peak_bytes
from mmdistill.analysis.results import DETECTION
from mmdistill.analysis.timing import milliseconds

_COLUMNS = (
    *('config', 'parameters', 'GMACs (dense + sparse)', 'ms / frame (quartiles)'),
    *('processor ms', 'peak memory'),
)


def measure(
    models: Sequence[nn.Module],
    batches: Sequence[Any],
    repeats: int,
    progress: Callable[[], Any] = lambda: None,
) -> list[dict[str, Any]]:
    """What each model costs.

    Args:
        models (Sequence[nn.Module]): in eval mode; one that stands for files which another runtime
            runs says their size as ``file_bytes``.
        batches (Sequence): for ``test_step``; all are timed, the first is counted.
        repeats (int): how often each batch is timed.
        progress (Callable): called when all models have had a turn, ``repeats * len(batches)``
            times.
    """
    costs = []
    for model, measured in zip(
        models, time_models(models, batches, repeats, progress), strict=True
    ):
        complexity = count(model, batches[0], call=model.test_step)
        times, processor_times = zip(*measured, strict=True)
        quartiles = statistics.quantiles(times, n=4)[::2] if len(times) > 1 else [*times, *times]
        costs.append(
            {
                'params': complexity.params,
                'dense_macs': complexity.dense_macs,
                'sparse_macs': complexity.sparse_macs,
                'macs_by_child': complexity.macs_by_child,
                'ms_per_frame': statistics.median(times),
                'ms_quartiles': quartiles,
                'processor_ms_per_frame': statistics.median(processor_times),
                'frames_timed': len(times),
                'peak_bytes': _peak_bytes(model, batches[0]),
                'file_bytes': getattr(model, 'file_bytes', None),
            }
        )
    return costs


@torch.no_grad()
def time_models(
    models: Sequence[nn.Module],
    batches: Sequence[Any],
    repeats: int,
    progress: Callable[[], Any] = lambda: None,
) -> list[list[tuple[float, float]]]:
    """Time ``test_step`` (voxelisation, network, decoding) of every model on every batch.

    The models take turns on each frame, so that a machine that slows down slows them all; the
    first turn of each is not counted.

    Returns:
        list[list[tuple[float, float]]]: for each model and timed frame, milliseconds on the clock
        and milliseconds that this process had a processor.
    """
    for model in models:
        model.test_step(batches[0])
    times: list[list[tuple[float, float]]] = [[] for _ in models]
    for _ in range(repeats):
        for batch in batches:
            for model, own in zip(models, times, strict=True):
                own.append(milliseconds(partial(model.test_step, batch)))
            progress()
    return times


def as_markdown(
    result: Mapping[str, Mapping[str, Any]],
    run: Mapping[str, str],
    metrics: Sequence[str] = DETECTION,
) -> str:
    """Format costs and accuracies of models, relative to the first.

    Args:
        result (Mapping): costs and accuracies by config.
        run (Mapping): what ``describe_run`` says, and ``frames``.
        metrics (Sequence[str]): the accuracies that have a column, where any model has them.
    """
    rows = list(result.items())
    metrics = [name for name in metrics if any(name in row for _, row in rows)]
    first = rows[0][1]
    columns = [*_COLUMNS, *metrics]
    lines = [f'| {" | ".join(columns)} |', '|---|' + '---:|' * (len(columns) - 1)]
    lines += [_line(path, row, first, metrics) for path, row in rows]
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


def write(
    out: Path,
    rows: Mapping[str, Mapping[str, Any]],
    run: Mapping[str, str],
    metrics: Sequence[str] = DETECTION,
) -> None:
    """Write all numbers, the table and, where accuracies are known, the plot.

    Args:
        out (Path): JSON file; the others have its name with ``.md`` and ``.png``.
        rows (Mapping): costs and accuracies by config.
        run (Mapping): what ``describe_run`` says, and ``frames``.
        metrics (Sequence[str]): the accuracies.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({**rows, 'run': run}, indent=2) + '\n')
    out.with_suffix('.md').write_text(as_markdown(rows, run, metrics))
    known = {path: row for path, row in rows.items() if metrics[0] in row}
    if known:
        draw(known, out.with_suffix('.png'), metrics)


def draw(
    models: Mapping[str, Mapping[str, Any]], path: Path, metrics: Sequence[str] = DETECTION
) -> None:
    """Draw accuracy over milliseconds per frame; the area of a mark grows with the parameters.

    Args:
        models (Mapping): costs and accuracies by config.
        path (Path): PNG file to write.
        metrics (Sequence[str]): the accuracies, which each model has.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    for metric in metrics:
        axes.scatter(
            [row['ms_per_frame'] for row in models.values()],
            [row[metric] for row in models.values()],
            s=[20 + 20 * row['params'] / 1e6 for row in models.values()],
            label=metric,
        )
    for name, row in models.items():
        place = (row['ms_per_frame'], row[metrics[0]])
        axes.annotate(_label(name), place, xytext=(6, -10), textcoords='offset points', fontsize=8)
    axes.set(xlabel='ms / frame', ylabel='accuracy', xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150, bbox_inches='tight')
    plt.close(figure)


@torch.no_grad()
def _peak_bytes(model: nn.Module, batch: Any) -> int | None:
    """Weights and buffers of a model, and what its ``test_step`` adds to them at most."""
    added = peak_bytes(lambda: model.test_step(batch))
    own = [*model.parameters(), *model.buffers()]
    return None if added is None else added + sum(t.numel() * t.element_size() for t in own)


def _line(
    path: str, row: Mapping[str, Any], first: Mapping[str, Any], metrics: Sequence[str]
) -> str:
    dense, sparse = row['dense_macs'] / 1e9, row['sparse_macs'] / 1e9
    whole = (first['dense_macs'] + first['sparse_macs']) / 1e9
    low, high = row['ms_quartiles']
    peak = f'{row["peak_bytes"] / 2**20:.0f} MiB' if row.get('peak_bytes') else ''
    accuracy = [f'{row[name]:.3f}' if name in row else '' for name in metrics]
    size = f'{row["params"] / 1e6:.2f} M ({_percent(row["params"], first["params"])})'
    macs = f'{dense + sparse:.1f} ({dense:.1f} + {sparse:.1f}; {_percent(dense + sparse, whole)})'
    if row.get('file_bytes'):  # what runs elsewhere has files, and nothing that could be counted
        size, macs, peak = f'{row["file_bytes"] / 1e6:.2f} MB of files', '', ''
    cells = [
        f'`{_label(path)}`',
        size,
        macs,
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
