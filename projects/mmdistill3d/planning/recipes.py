"""Recipes: which of the layers that two detectors have in common are linked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmdistill.reading import Layer
from mmdistill3d.classes import num_classes
from mmdistill3d.images import other_images
from mmdistill3d.planning.families import Suggestion
from mmdistill3d.planning.pair import PARTS, Pair
from mmdistill3d.reading import xy_of

BOXES_IN_BACKGROUND = 8
"""As many boxes as all cells without an object count for, together."""


def response(pair: Pair) -> list[Suggestion]:
    """What the heads answer."""
    student, teacher = pair.student, pair.teacher
    if student.family is None or student.family is not teacher.family:
        return []
    return student.family.suggest(student.part('bbox_head'), teacher.part('bbox_head'))


def best(pair: Pair) -> list[Suggestion]:
    """What the heads answer, and features where objects are.

    CRD of objects, too, between heads of one family whose student cannot start from the teacher's
    weights: behind that start, and between families, it gains nothing.
    """
    answers = response(pair)
    links = [*answers, *_feature(pair, 'FitNetLoss', 0.25, masked=True)]
    return [*links, *_object_crd(pair)] if answers and other_parts(pair) else links


def features(pair: Pair) -> list[Suggestion]:
    """Where channels fire, and what they hold where objects are."""
    return [
        *_feature(
            pair,
            'CWDLoss',
            3.6,
            name='channel',
            reason="Where each of the teacher's channels fires: the student keeps its own scale.",
        ),
        *_feature(pair, 'FitNetLoss', 0.25, masked=True),
    ]


def crd(pair: Pair) -> list[Suggestion]:
    """Contrast (CRD) of objects, or of scenes where it is not known where boxes lie on the maps."""
    if finest(pair) is None:
        return []
    return _object_crd(pair) or _scene_crd(pair)


def _object_crd(pair: Pair) -> list[Suggestion]:
    """CRD of objects, the teacher's embedding being its features themselves."""
    found = finest(pair)
    if found is None or None in (found[1].range, found[2].range):
        return []
    number = num_classes(pair.student.head)
    return _crd(
        pair,
        'An object looks as it does to the teacher, and unlike all other objects.',
        granularity=dict(type='object', **({} if number is None else dict(num_classes=number))),
        projector=dict(pool='avg'),
        teacher_projector=dict(type='CentredProjector'),
        memory=dict(num_negatives=512, negatives='all', temperature=0.2),
        loss_weight=0.2,
    )


def _scene_crd(pair: Pair) -> list[Suggestion]:
    """CRD of whole scenes, which reads no boxes."""
    return _crd(
        pair,
        "A scene looks as it does to the teacher, and unlike the data set's other scenes.",
        projector=dict(pool='avg+max'),
        memory=dict(num_negatives=4096),
        loss_weight=0.1,
    )


def _crd(pair: Pair, reason: str, **loss: Any) -> list[Suggestion]:
    name, student, teacher = finest(pair)
    widths = {} if pair.reads_shapes else _widths(student, teacher, *CRD_WIDTHS)
    config = dict(**_joined(pair, student, teacher), loss=dict(type='CRDLoss', **widths, **loss))
    return [Suggestion(f'{name}_crd', reason, config)]


RECIPES: dict[str, Callable[[Pair], list[Suggestion]]] = dict(
    best=best, response=response, features=features, crd=crd
)
CONV_WIDTHS = ('in_channels', 'out_channels')
CRD_WIDTHS = ('student_channels', 'teacher_channels')
INHERITS = ('best',)
"""Recipes whose student starts from the teacher's weights."""
SAME_WEIGHTS = {'PortableSparseEncoder': 'SparseEncoder'}
"""Parts that take the weights of another class."""


def other_parts(pair: Pair) -> str | None:
    """Return why a student cannot start from the teacher's weights; None where it can."""
    if pair.no_start is not None:
        return pair.no_start
    for part in (*PARTS, 'voxel_encoder'):
        kinds = [side.kind(part) or 'none' for side in (pair.student, pair.teacher)]
        if SAME_WEIGHTS.get(kinds[0], kinds[0]) != SAME_WEIGHTS.get(kinds[1], kinds[1]):
            return f"the student's {part} is {kinds[0]}, the teacher's {kinds[1]}"
    different = other_images(pair.student.model, pair.teacher.model)
    return None if different is None else f"the student's images have {different}"


def finest(pair: Pair) -> tuple[str, Layer, Layer] | None:
    """Return the finest maps of both necks, or of the backbones where one has no neck.

    Returns:
        ``'neck'`` or ``'backbone'``, the student's layer and the teacher's; None without maps.
    """
    for name in ('neck', 'backbone'):
        levels = [side.maps(name) for side in (pair.student, pair.teacher)]
        if all(levels):
            return name, *(max(found, key=_cells) for found in levels)
    return None


def _feature(
    pair: Pair,
    loss: str,
    weight: float,
    masked: bool = False,
    name: str = 'feature',
    reason: str = 'What the channels hold where objects are, each box alike.',
) -> list[Suggestion]:
    found = finest(pair)
    if found is None:
        return []
    part, student, teacher = found
    widths = {} if pair.reads_shapes else _widths(student, teacher, *CONV_WIDTHS)
    config = dict(
        **_joined(pair, student, teacher), student_connector=dict(type='ConvConnector', **widths)
    )
    if masked and student.range is not None:
        background = float(f'{BOXES_IN_BACKGROUND / _cells(student):.2g}')
        config['mask'] = dict(type='BoxMask', shape='gaussian', background=background)
    elif masked:
        reason = 'What the channels hold, in every cell: where boxes lie on this map is not known.'
    config['loss'] = dict(type=loss, loss_weight=weight)
    return [Suggestion(f'{part}_{name}', reason, config)]


def _joined(pair: Pair, student: Layer, teacher: Layer) -> dict[str, Any]:
    """Both ends of a link, with what joins their cells where a run cannot read them."""
    ends = dict(student=str(student.recorder), teacher=str(teacher.recorder))
    places = [(layer.range, layer.size) for layer in (student, teacher)]
    if pair.reads_shapes or places[0] == places[1] or student.axes != teacher.axes:
        return ends
    connector = dict(
        type='RangeConnector',
        source_range=list(xy_of(teacher.range)),
        target_range=list(xy_of(student.range)),
        size=student.size,
    )
    return dict(**ends, teacher_connector=connector)


def _widths(student: Layer, teacher: Layer, mine: str, theirs: str) -> dict[str, int]:
    return {mine: student.channels, theirs: teacher.channels}


def _cells(layer: Layer) -> int:
    return layer.size[0] * layer.size[1]
