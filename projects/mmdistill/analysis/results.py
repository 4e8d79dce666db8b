"""Metrics of finished runs, read from what MMEngine wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DETECTION = ('mAP', 'NDS')


def read_result(path: str | None, names: Sequence[str] = DETECTION) -> dict[str, float]:
    """Read metrics of an evaluation.

    Args:
        path (str, optional): metrics file (one JSON object, or one a line as in MMEngine's
            ``scalars.json``, of which the last with all counts; or ``results.json`` of
            ``MetricsFileHook``) or work dir of ``test.py`` or a training; None or ``-`` for none.
        names (Sequence[str]): of the metrics, without the prefix of their evaluator.

    Returns:
        dict: the metrics by their names, or nothing.

    Raises:
        FileNotFoundError: there is no such file, or it does not hold them all.
    """
    if path in (None, '-'):
        return {}
    if Path(path).is_dir():
        return read_accuracy(Path(path), names)
    accuracy = _last_accuracy(Path(path), names)
    if not accuracy:
        raise FileNotFoundError(f'{path} holds no {" and ".join(names)}.')
    return accuracy


def last_validation(work_dir: Path, names: Sequence[str] = DETECTION) -> dict[str, float]:
    """Read metrics from a training run's last validation.

    Args:
        work_dir (Path): of ``tools/train.py``.
        names (Sequence[str]): of the metrics, without the prefix of their evaluator.

    Raises:
        FileNotFoundError: the run's log has no validation with all of them.
    """
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
    for log in reversed(logs):
        if accuracy := _last_accuracy(log, names):
            return accuracy
    raise FileNotFoundError(f'no validation with {" and ".join(names)} is logged under {work_dir}')


def read_accuracy(test_dir: Path, names: Sequence[str] = DETECTION) -> dict[str, float]:
    """Read metrics from the newest metrics file of an evaluation.

    Args:
        test_dir (Path): work dir that ``tools/test.py`` wrote to, or a training that was tested at
            its end.
        names (Sequence[str]): of the metrics.

    Raises:
        FileNotFoundError: no file there holds them all.
    """
    files = [*test_dir.glob('*/*.json'), *test_dir.glob('results.json')]
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        if found := _last_accuracy(path, names):
            return found
    raise FileNotFoundError(f'No metrics file with {" and ".join(names)} under {test_dir}.')


def find_accuracy(metrics: dict[str, Any], names: Sequence[str] = DETECTION) -> dict[str, float]:
    """Pick metrics, under their plain names, out of what an evaluator returned.

    Of the ``results.json`` of a whole run, its test counts.
    """
    tested = metrics.get('test')
    return {
        name: value
        for key, value in (tested if isinstance(tested, dict) else metrics).items()
        for name in names
        if key.rsplit('/', 1)[-1] == name
    }


def _last_accuracy(file: Path, names: Sequence[str] = DETECTION) -> dict[str, float]:
    """The last metrics of a file with one JSON object, or one a line; nothing without all."""
    text = file.read_text()
    try:
        contents = [json.loads(text)]
    except json.JSONDecodeError:
        contents = [json.loads(line) for line in text.splitlines() if line.strip()]
    found = (find_accuracy(content, names) for content in reversed(contents))
    return next((accuracy for accuracy in found if len(accuracy) == len(names)), {})
