"""Which classes a detector's labels stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mmdistill import classes
from mmdistill.classes import ClassColumns, ClassMap
from mmdistill3d.heads import find_head


def class_map(student: nn.Module, teacher: nn.Module) -> ClassMap | None:
    """Join the classes of two detectors by name; None while one of them does not tell them."""
    mine, theirs = class_names(student), class_names(teacher)
    return None if mine is None or theirs is None else ClassMap(mine, theirs)


def join_classes(
    columns: ClassColumns, student: nn.Module, teacher: nn.Module, who: str
) -> ClassMap | None:
    """Let the teacher's columns stand in the student's order, where both models name theirs.

    Args:
        columns: Told what was joined, or that nothing was.
        student: The student.
        teacher: The teacher.
        who: Who asks, for errors.

    Raises:
        ValueError: The teacher lacks a class of the student.
    """
    joined = class_map(student, teacher)
    if joined is not None:
        joined.demand_all(who)
    columns.join(joined)
    return joined


def class_names(model: Any) -> tuple[str, ...] | None:
    """Return a detector's class names in the order of its labels; None where nobody told.

    They are those of its data set (:func:`mmdistill.classes.class_names`), else those of the tasks
    of a ``CenterHead``.
    """
    names = classes.class_names(model)
    if names is None:
        tasks = getattr(find_head(model), 'class_names', None)
        names = None if tasks is None else tuple(name for task in tasks for name in task)
    return names


def demand_same_number(student: nn.Module | None, teacher: nn.Module | None) -> None:
    """Demand that two heads have as many classes, where their names are not known.

    Raises:
        ValueError: The numbers differ.
    """
    mine, theirs = num_classes(student), num_classes(teacher)
    if mine is not None and theirs is not None and mine != theirs:
        raise ValueError(
            f'the student has {mine} classes, the teacher {theirs}, and which they are is not '
            "known: give both data sets metainfo=dict(classes=...), so that the teacher's "
            'checkpoint and the training data name them'
        )


def num_classes(head: nn.Module | None) -> int | None:
    """Return the number of classes of a head; None where it does not tell."""
    number = getattr(head, 'num_classes', None)
    if isinstance(number, (list, tuple)):
        return sum(number)  # of the tasks of a CenterHead
    # An anchor head that scores by softmax counts the background.
    return number if number is None or getattr(head, 'use_sigmoid_cls', True) else number - 1


def regroup_tasks(
    classes: ClassMap, student: Sequence[int], teacher: Sequence[int]
) -> list[tuple[int, list[int]]]:
    """For each of the student's tasks the teacher's task, and its map of each class.

    Args:
        classes: The two lists of classes, tasks behind one another.
        student: Number of classes of each of the student's tasks.
        teacher: The same of the teacher.

    Raises:
        ValueError: The teacher lacks a class, or has those of one task in several.
    """
    classes.demand_all('a CenterHead')
    place = [(task, k) for task, number in enumerate(teacher) for k in range(number)]
    if len(place) != len(classes.teacher) or sum(student) != len(classes.student):
        raise ValueError(
            f'the tasks of the student have {list(student)} classes, those of the teacher '
            f"{list(teacher)}, which are not their data sets': {classes}"
        )
    labels = iter(classes.teacher_labels)
    regrouped = []
    for number in student:
        found = [place[next(labels)] for _ in range(number)]
        tasks = {task for task, _ in found}
        if len(tasks) > 1:
            raise ValueError(
                'a CenterHead has boxes by task, and classes of one task of the student belong to '
                f'several of the teacher: {classes}'
            )
        regrouped.append((tasks.pop(), [k for _, k in found]))
    return regrouped
