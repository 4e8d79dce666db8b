"""Box heads: of a detector, and of a linked layer."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmdistill.reading import Layer
from mmdistill.reading.address import find_module

_HEADS = ('bbox_head', 'pts_bbox_head')


def find_head(model: Any) -> nn.Module | None:
    """Return a detector's box head, whatever its name there; None without one."""
    heads = (getattr(model, name, None) for name in _HEADS)
    return next((head for head in heads if head is not None), None)


def demand_head(model: Any, argument: str) -> nn.Module:
    """Return a detector's box head.

    Args:
        model: The detector, or None.
        argument: How the error calls it.

    Raises:
        ValueError: There is no detector, or it has no head.
    """
    head = find_head(model)
    if head is None:
        what = 'not given' if model is None else f'a {type(model).__name__}'
        raise ValueError(
            f'{argument} is {what}; the boxes are decoded by its bbox_head (or pts_bbox_head)'
        )
    return head


class LinkedHeads:
    """The heads whose outputs a loss compares: those of the linked layers.

    A link tells their paths; a loss that is used alone takes those of the two detectors.
    """

    def __init__(self) -> None:
        self._paths: tuple[str | None, str | None] = (None, None)

    def bind(self, student: Layer, teacher: Layer, attribute: str, what: str) -> None:
        """Take the heads of two layers.

        Args:
            student: The student's layer.
            teacher: The teacher's layer.
            attribute: What such a head has.
            what: How such a head is called and linked, for the error.

        Raises:
            ValueError: A layer comes of no such head.
        """
        for layer in (student, teacher):
            head = linked_module(layer)
            if not hasattr(head, attribute):
                raise ValueError(f'{layer} comes of {type(head).__name__}; link {what}')
        self._paths = _path(student), _path(teacher)

    def student(self, model: nn.Module | None) -> nn.Module:
        """Return the student's head; a ``ValueError`` where there is none."""
        return self._find(self._paths[0], model, 'student_model')

    def teacher(self, model: nn.Module | None) -> nn.Module:
        """Return the teacher's head; a ``ValueError`` where there is none."""
        return self._find(self._paths[1], model, 'teacher_model')

    def _find(self, path: str | None, model: nn.Module | None, argument: str) -> nn.Module:
        if path is None or model is None:
            return demand_head(model, argument)
        return find_module(model, path)


def linked_module(layer: Layer) -> nn.Module:
    """Return the module whose output a link reads."""
    return find_module(layer.model, _path(layer))


def _path(layer: Layer) -> str:
    return layer.recorder.address(layer.model).module
