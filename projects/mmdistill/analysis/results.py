"""mAP and NDS of finished runs, read from what MMEngine wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


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
    accuracy = _last_accuracy(Path(path))
    if not accuracy:
        raise FileNotFoundError(f'{path} holds no mAP and NDS.')
    return accuracy


def last_validation(work_dir: Path, names: Sequence[str] = ('mAP', 'NDS')) -> dict[str, float]:
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


def find_accuracy(
    metrics: dict[str, Any], names: Sequence[str] = ('mAP', 'NDS')
) -> dict[str, float]:
    """Pick metrics, under their plain names, out of what an evaluator returned."""
    return {
        name: value
        for key, value in metrics.items()
        for name in names
        if key.rsplit('/', 1)[-1] == name
    }


def _last_accuracy(file: Path, names: Sequence[str] = ('mAP', 'NDS')) -> dict[str, float]:
    """The last metrics of a file with one JSON object, or one a line; nothing without all."""
    text = file.read_text()
    try:
        contents = [json.loads(text)]
    except json.JSONDecodeError:
        contents = [json.loads(line) for line in text.splitlines() if line.strip()]
    found = (find_accuracy(content, names) for content in reversed(contents))
    return next((accuracy for accuracy in found if len(accuracy) == len(names)), {})
