"""Checks that connectors and losses share."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmdistill.reading.address import describe


def check_channels(feature: Any, channels: int, argument: str) -> None:
    """Demand a tensor ``(B, channels, ...)``.

    Args:
        feature: What a layer returned.
        channels: Channels the config promises.
        argument: The config's key that made the promise.

    Raises:
        ValueError: Another type or another number of channels; names both and the cure.
    """
    if isinstance(feature, (tuple, list)):
        raise ValueError(
            f'expected a tensor (B, {channels}, ...), got {describe(feature)}: add a selector to '
            'the layer address, e.g. [0]'
        )
    if not isinstance(feature, Tensor) or feature.dim() < 2 or feature.shape[1] != channels:
        raise ValueError(
            f'expected a tensor (B, {channels}, ...) as {argument}={channels} says, got '
            f'{describe(feature)}; correct {argument}, or choose another layer'
        )


def check_same_shape(student: Tensor, teacher: Tensor) -> None:
    """Demand equal shapes; the ``ValueError`` names both and the connectors that make them so."""
    for feature in (student, teacher):
        if not isinstance(feature, Tensor):
            raise ValueError(
                f'expected one tensor, got {describe(feature)}: add a selector to the layer '
                'address, e.g. [0]'
            )
    if student.shape == teacher.shape:
        return
    are_maps = student.dim() == teacher.dim() == 4 and student.shape[0] == teacher.shape[0]
    cure = _connectors(student, teacher) if are_maps else 'link layers that return one shape'
    raise ValueError(f'the student is {describe(student)}, the teacher {describe(teacher)}; {cure}')


def check_map(feature: Any) -> None:
    """Demand a map ``(B, C, H, W)``; the ``ValueError`` says what it is instead."""
    if not isinstance(feature, Tensor) or feature.dim() != 4:
        cure = (
            ': add a selector to the layer address, e.g. [0]'
            if isinstance(feature, (tuple, list))
            else ''
        )
        raise ValueError(f'expected a map (B, C, H, W), got {describe(feature)}{cure}')


def check_same_maps(student: Any, teacher: Any) -> None:
    """Demand two maps ``(B, C, H, W)`` of one shape; the ``ValueError`` says what they are."""
    check_map(student)
    check_same_shape(student, teacher)


def check_maps(student: Any, teacher: Any) -> None:
    """Demand two maps ``(B, C, H, W)`` of one batch, height and width; channels may differ.

    Raises:
        ValueError: Another type or shape; names both and the connector that joins them.
    """
    for feature in (student, teacher):
        check_map(feature)
    if (student.shape[0], student.shape[2:]) != (teacher.shape[0], teacher.shape[2:]):
        raise ValueError(
            'the maps need the same batch, height and width: the student is '
            f'{tuple(student.shape)}, the teacher {tuple(teacher.shape)}; link layers of the '
            'same stride, or bring the teacher to the student with '
            f"teacher_connector=dict(type='ResizeConnector', size={tuple(student.shape[2:])})"
        )


def _connectors(student: Tensor, teacher: Tensor) -> str:
    """The connectors that give two maps of one batch one shape."""
    lines = []
    if student.shape[1] != teacher.shape[1]:
        lines.append("student_connector=dict(type='ConvConnector')")
    if student.shape[2:] != teacher.shape[2:]:
        size = tuple(student.shape[2:])
        lines.append(f"teacher_connector=dict(type='ResizeConnector', size={size})")
    return f'join them with {" and ".join(lines)}'
