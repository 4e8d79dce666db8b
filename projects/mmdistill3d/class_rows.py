"""Which weights of a head belong to which class, so that they are inherited by name."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from mmdistill.classes import ClassMap
from mmdistill3d.classes import class_map, regroup_tasks

_BOXES_BY_CLASS = ('conv_cls', 'conv_reg', 'conv_dir_cls')


def add_classes(derived: dict[str, Any], student: nn.Module, teacher: nn.Module) -> None:
    """Say for every head how what it knows of classes is inherited.

    Nothing is to be said where both models have the same classes in the same order.

    Args:
        derived: ``grouped_inputs``, ``names``, ``exclude`` and ``outputs`` of
            :func:`~mmdistill.inherit.inherit`, which are extended.
        student: The student.
        teacher: The teacher.
    """
    classes = class_map(student, teacher)
    if classes is not None and classes.is_same:
        return
    for name, head in student.named_children():
        other = getattr(teacher, name, None)
        if name.endswith('head') and other is not None:
            _add_head(derived, name, head, other, classes)


def _add_head(
    derived: dict[str, Any],
    name: str,
    head: nn.Module,
    other: nn.Module,
    classes: ClassMap | None,
) -> None:
    if hasattr(head, 'class_encoding') and hasattr(head, 'heatmap_head'):
        _add_transfusion(derived, name, head, classes)
    elif hasattr(head, 'task_heads') and classes is not None:
        _add_tasks(derived, name, head, other, classes)
    elif hasattr(head, 'conv_cls'):
        # A class has anchors of its size: its boxes, too, are rows of their own.
        for layer in _BOXES_BY_CLASS:
            if hasattr(head, layer):
                derived['exclude'][f'{name}.{layer}'] = _why(classes)
    else:
        derived['exclude'][name] = _why(classes)


def _add_transfusion(
    derived: dict[str, Any], name: str, head: nn.Module, classes: ClassMap | None
) -> None:
    """Rows of the class heatmap and of every decoder layer's classes, columns of their encoding."""
    branches = [f'{name}.heatmap_head.{_last_conv(head.heatmap_head)}']
    branches += [
        f'{name}.prediction_heads.{i}.heatmap.{_last_conv(layer.heatmap)}'
        for i, layer in enumerate(head.prediction_heads)
    ]
    encoding = f'{name}.class_encoding'
    if classes is None:
        derived['exclude'].update(dict.fromkeys([*branches, encoding], _why(classes)))
        return
    for branch in branches:
        derived['outputs'][branch] = classes.teacher_labels
    derived['grouped_inputs'][encoding] = dict(chosen=classes.teacher_labels)


def _add_tasks(
    derived: dict[str, Any], name: str, head: nn.Module, other: nn.Module, classes: ClassMap
) -> None:
    """Whole tasks of a centre head from the teacher's task of the same classes."""
    try:
        tasks = regroup_tasks(classes, head.num_classes, other.num_classes)
    except ValueError as error:
        derived['exclude'][f'{name}.task_heads'] = str(error)
        return
    for number, (task, rows) in enumerate(tasks):
        branch = f'{name}.task_heads.{number}'
        derived['names'][branch] = f'{name}.task_heads.{task}'
        last = f'{branch}.heatmap.{_last_conv(head.task_heads[number].heatmap)}'
        derived['outputs'][last] = rows


def _last_conv(branch: nn.Module) -> str:
    """Path of the last convolution in a branch."""
    return [path for path, layer in branch.named_modules() if isinstance(layer, _ConvNd)][-1]


def _why(classes: ClassMap | None) -> str:
    if classes is None:
        return 'belongs to classes, and the names of one side are not known'
    return f'belongs to classes, and {classes}'
