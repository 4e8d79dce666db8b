"""Which classes a detector's labels stand for."""

from __future__ import annotations

from typing import Any


def check_class_order(student: Any, teacher: Any) -> None:
    """Demand that two detectors mean the same classes by their labels.

    Names are compared where both know them (``dataset_meta`` or the tasks of a ``CenterHead``),
    else the numbers of classes of their heads; what neither tells is not checked.

    Raises:
        ValueError: The classes differ; the message gives both lists.
    """
    mine, theirs = class_names(student), class_names(teacher)
    if mine is None or theirs is None:
        mine, theirs = num_classes(student), num_classes(teacher)
    if mine is not None and theirs is not None and mine != theirs:
        raise ValueError(
            f'the student has the classes {mine}, the teacher {theirs}; they need one list in one '
            'order'
        )


def class_names(model: Any) -> list[str] | None:
    """Return a detector's class names in the order of their labels; None where it has none."""
    names = (getattr(model, 'dataset_meta', None) or {}).get('classes')
    if names is None:
        tasks = getattr(_head(model), 'class_names', None)
        names = None if tasks is None else [name for task in tasks for name in task]
    return None if names is None else list(names)


def num_classes(model: Any) -> int | None:
    """Return the number of classes of a detector's head; None where it does not tell."""
    head = _head(model)
    number = getattr(head, 'num_classes', None)
    if isinstance(number, (list, tuple)):
        return sum(number)  # of the tasks of a CenterHead
    # An anchor head that scores by softmax counts the background.
    return number if number is None or getattr(head, 'use_sigmoid_cls', True) else number - 1


def _head(model: Any) -> Any:
    return getattr(model, 'bbox_head', None) or getattr(model, 'pts_bbox_head', None)
