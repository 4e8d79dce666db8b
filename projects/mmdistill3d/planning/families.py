"""Families of box heads, and the links between what two heads of one family answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Suggestion:
    """A link that a recipe would like to have.

    Args:
        name: The link's name.
        reason: Why it is there, in a line.
        config: The link as a config has it.
    """

    name: str
    reason: str
    config: dict[str, Any]

    @property
    def layers(self) -> tuple[str, str]:
        """Addresses of the student's and the teacher's layer."""
        sides = (self.config['student'], self.config['teacher'])
        return tuple(side if isinstance(side, str) else side['layer'] for side in sides)


@dataclass(frozen=True)
class Family:
    """Heads that answer alike.

    Args:
        name: How it is called.
        marks: Attributes by which a head of it is known.
        suggest: The links between two such heads, given their names in student and teacher.
        sufficient: Whether the best recipe links them alone, behind a start from the teacher's
            weights.
    """

    name: str
    marks: tuple[str, ...]
    suggest: Callable[[str, str], list[Suggestion]]
    sufficient: bool = False


def family_of(head: nn.Module | None) -> Family | None:
    """Return the family of a head; None for one that is not known, and without a head."""
    return next((f for f in FAMILIES if all(hasattr(head, mark) for mark in f.marks)), None)


def _transfusion(student: str, teacher: str) -> list[Suggestion]:
    return [
        Suggestion(
            'transfusion_kd',
            'Classes and boxes of matched object queries; those of the teacher about nothing, too.',
            dict(
                student=f'{student}[0][0]',
                teacher=f'{teacher}[0][0]',
                loss=dict(type='TransFusionKDLoss', background=0.2, loss_weight=0.25),
            ),
        ),
    ]


def _centre(student: str, teacher: str) -> list[Suggestion]:
    return [
        Suggestion(
            'head_kd',
            'Class maps and boxes where objects are; a copy, as CenterHead overwrites its logits.',
            dict(
                student=dict(layer=student, clone=True),
                teacher=teacher,
                loss=dict(
                    type='CenterHeadKDLoss', heatmap_weight=5.0, box_weight=0.25, loss_weight=1.0
                ),
            ),
        )
    ]


def _anchor(student: str, teacher: str) -> list[Suggestion]:
    return [
        Suggestion(
            'head_kd',
            'Both heads have the same anchors: scores of all, boxes of the confident ones.',
            dict(
                student=student,
                teacher=teacher,
                loss=dict(type='AnchorHeadKDLoss', box_weight=0.5, loss_weight=1.0),
            ),
        )
    ]


FAMILIES = (
    Family('TransFusion', ('heatmap_head', 'prediction_heads'), _transfusion, True),
    Family('centre', ('task_heads',), _centre),
    Family('anchor', ('prior_generator', 'box_code_size'), _anchor),
)
"""What tells a head's family, the first that fits."""
