"""What the rows of a layer stand for, where they are no cells of a map: points, boxes, queries.

Rows of two models are the same things only where both chose alike, which nobody sees from their
shapes. Other packages tell what they know of their models' rows by functions registered here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmdistill.reading.recorders import Parameters, Recorder

RowsOf = Callable[[nn.Module, Recorder], Recorder | str | None]

_ROWS: list[RowsOf] = []


def register_rows(function: RowsOf) -> RowsOf:
    """Let a function say what the rows of a model's layer stand for.

    Args:
        function: Takes the model and the layer's recorder; returns the recorder of a tensor that
            is equal in two models if and only if their rows stand for the same things (positions
            of points, say); a sentence, where rows are each model's own, that says why and what
            to link instead; or ``None`` for layers that it does not know.
    """
    _ROWS.append(function)
    return function


def rows_of(model: nn.Module, recorder: Recorder) -> Recorder | None:
    """Return what says for what the rows of a layer stand; ``None`` where nobody knows.

    Raises:
        ValueError: They are the model's own, so that no two models have the same.
    """
    for function in _ROWS:
        rows = function(model, recorder)
        if isinstance(rows, str):
            raise ValueError(rows)
        if rows is not None:
            return rows
    return None


def demand_same_rows(student: Any, teacher: Any) -> None:
    """Demand that the rows of two layers stand for the same things.

    Args:
        student: What :func:`rows_of` recorded in the student.
        teacher: The same of the teacher.

    Raises:
        ValueError: They do not.
    """
    if not isinstance(student, Tensor) or not isinstance(teacher, Tensor):
        return
    if student.shape == teacher.shape and torch.equal(student, teacher):
        return
    if student.shape == teacher.shape:
        share = (student != teacher).flatten(2).any(-1).float().mean()
        what = f'{share:.0%} of its rows stand for others than the teacher'
    else:
        what = f'it has {tuple(student.shape)}, the teacher {tuple(teacher.shape)}'
    raise ValueError(
        'the student and the teacher sampled other points or boxes, so that their rows do not '
        f"belong together ({what}'s): sample alike in both, link a layer in front of the sampling, "
        'or choose a loss that matches objects'
    )


@register_rows
def of_second_stages(model: nn.Module, recorder: Recorder) -> str | None:
    """Second stages read the boxes that their own first stage proposed."""
    path = recorder.layer.split('[')[0].split('.')
    is_second = 'roi_head' in path and 'semantic_head' not in path
    if not is_second or isinstance(recorder, Parameters) or not hasattr(model, 'roi_head'):
        return None
    return (
        f'the rows of {recorder} are the proposals of each model, sampled for itself: the '
        "teacher's have nothing to do with the student's. Link the first stage (rpn_head, neck, "
        'backbone) instead'
    )
