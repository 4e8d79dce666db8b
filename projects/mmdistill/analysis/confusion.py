"""Pictures of confusion matrices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_run(results: str | Path) -> Path | None:
    """Draw the confusion matrices of a run's test as ``confusion.png`` beside its results.

    Args:
        results: The ``results.json`` of ``MetricsFileHook``.

    Returns:
        The picture; ``None`` where the run's test gave no matrices (``confusion=True``).
    """
    content = json.loads(Path(results).read_text())
    evaluator = content['config'].get('test_evaluator') or {}
    matrices, classes = confusions_of(evaluator, content['test'] or {})
    if not matrices:
        return None
    path = Path(results).with_name('confusion.png')
    draw_confusions(matrices, classes, path)
    return path


def confusions_of(
    evaluator: Mapping[str, Any], metrics: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Sequence[str]]]:
    """Return the confusion matrices among metrics, and the names of their classes, by title.

    Args:
        evaluator: Config of the metric, or of one for each task.
        metrics: What it returned.
    """
    tasks = evaluator.get('tasks') or {'': evaluator}
    matrices, classes = {}, {}
    for task, options in tasks.items():
        matrix = metrics.get(f'{task}_confusion' if task else 'confusion')
        if matrix is not None:
            title = task or 'classes'
            matrices[title] = np.array(matrix)
            classes[title] = options.get('classes') or [str(i) for i in range(len(matrix))]
    return matrices, classes


def draw_confusions(
    matrices: Mapping[str, np.ndarray], classes: Mapping[str, Sequence[str]], path: str | Path
) -> None:
    """Draw confusion matrices side by side, each row in shares of what is true.

    Args:
        matrices: Counts ``(C, C)`` by title; rows are what is true, columns what was predicted.
        classes: Names of the classes, by the same titles.
        path: PNG file to write.

    Raises:
        ValueError: A matrix does not have a row for each of its classes.
    """
    confusion_figure(matrices, classes).savefig(path, dpi=110)


def confusion_figure(
    matrices: Mapping[str, np.ndarray], classes: Mapping[str, Sequence[str]]
) -> Figure:
    """Return the figure of :func:`draw_confusions`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(matrices), 4.2), layout='constrained')
    for axis, (title, counts) in zip(
        figure.subplots(1, len(matrices), squeeze=False)[0], matrices.items(), strict=True
    ):
        counts, names = np.asarray(counts), list(classes[title])
        if counts.shape != (len(names), len(names)):
            raise ValueError(f'{title}: {counts.shape} counts for {len(names)} classes')
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axis.imshow(shares, cmap='Blues', vmin=0, vmax=1)
        axis.grid(False)
        for (row, column), count in np.ndenumerate(counts):
            shade = 'white' if shares[row, column] > 0.5 else 'black'
            axis.text(column, row, str(count), ha='center', va='center', color=shade, fontsize=8)
        short = [name if len(name) < 14 else f'{name[:12]}.' for name in names]
        axis.set_xticks(range(len(names)), short, rotation=45, ha='right', fontsize=8)
        axis.set_yticks(range(len(names)), short, fontsize=8)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel('predicted', fontsize=8)
        axis.set_ylabel('true', fontsize=8)
    return figure
