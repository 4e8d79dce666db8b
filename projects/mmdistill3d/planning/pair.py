"""Two detectors side by side: what a plan knows of them before anything is linked."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from mmdet3d.models.middle_encoders import SparseEncoder, SparseUNet
from mmengine.config import Config
from torch import Tensor, nn

from bevfusion import PortableSparseEncoder
from mmdistill import Distiller
from mmdistill.reading import FeatureRecorder, Layer, build_recorder
from mmdistill.reading.shapes import example_of, layer_facts, without_trace
from mmdistill.reading.sparse import is_sparse
from mmdistill3d.classes import class_map
from mmdistill3d.heads import find_head
from mmdistill3d.planning.families import Family, family_of
from mmdistill3d.reading import bev_encoder, bev_range, xy_of

PARTS = ('middle_encoder', 'backbone', 'neck', 'bbox_head')
"""Parts of a detector in the order of its data flow, without ``pts_``."""


@dataclass(frozen=True)
class Side:
    """One of the two detectors, and what its parts returned for a made-up frame.

    Args:
        role: ``'student'`` or ``'teacher'``.
        name: Its config, as the user names it.
        model: The built detector.
        outputs: What each part returned, by the part's name in the model.
    """

    role: str
    name: str
    model: nn.Module
    outputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def head(self) -> nn.Module | None:
        """Its box head; None without one."""
        return find_head(self.model)

    @property
    def family(self) -> Family | None:
        """The family of its head; None for one that is not known."""
        return family_of(self.head)

    def part(self, name: str) -> str | None:
        """Return a part's name in the model, with ``pts_`` or without; None where it has none."""
        names = (f'pts_{name}', name)
        return next((n for n in names if getattr(self.model, n, None) is not None), None)

    def kind(self, name: str) -> str | None:
        """Return the class of a part; None where the model has none."""
        name = self.part(name)
        return None if name is None else type(getattr(self.model, name)).__name__

    def layer(self, spec: str | dict) -> Layer:
        """Return a layer below one of the parts, with its value for the made-up frame."""
        recorder = build_recorder(spec)
        address = recorder.address(self.model, self.role)
        value = address.select(self.outputs[address.module])
        return Layer(recorder, self.model, self.role, value, **layer_facts(self.model, recorder))

    def maps(self, name: str) -> list[Layer]:
        """Return the maps that a part returns, ``(B, C, H, W)`` or sparse, in their order."""
        part = self.part(name)
        value = self.outputs.get(part)
        if isinstance(value, Tensor) or is_sparse(value):
            return [self.layer(part)]
        number = len(value) if isinstance(value, (tuple, list)) else 0
        layers = [self.layer(f'{part}[{index}]') for index in range(number)]
        return [layer for layer in layers if layer.size is not None and len(layer.size) == 2]


@dataclass(frozen=True)
class Pair:
    """A student and a teacher that have something to say to each other.

    Args:
        student: The detector that learns.
        teacher: The detector with the weights.
        distiller: Both of them, not linked.
        no_start: Why the student could not start from the teacher's weights, where it was tried.
    """

    student: Side
    teacher: Side
    distiller: Distiller
    no_start: str | None = None

    @property
    def reads_shapes(self) -> bool:
        """Whether a run reads the shapes of both models when it builds them.

        It does so on the CPU, where MMDetection3D's own sparse encoders have no kernel.
        """
        encoders = [bev_encoder(side.model) for side in (self.student, self.teacher)]
        return not any(
            isinstance(encoder, (SparseEncoder, SparseUNet))
            and not isinstance(encoder, PortableSparseEncoder)
            for encoder in encoders
        )

    def addresses(self, name: str) -> list[tuple[str, str]]:
        """Return the layers of a part of both, level by level."""
        sides = (self.student, self.teacher)
        levels = [[str(layer.recorder) for layer in side.maps(name)] for side in sides]
        return list(zip(*levels, strict=False))


def read_pair(student: Config, student_name: str, teacher: str, checkpoint: str) -> Pair:
    """Build two detectors, load the teacher strictly and run both on one made-up frame.

    Args:
        student: Whole config of the student.
        student_name: How it is called.
        teacher: Path of the teacher's config, or ``'package::path'``.
        checkpoint: The teacher's weights.

    Raises:
        FileNotFoundError: A config or the checkpoint is not there.
        ValueError: The weights are another model's, or the two detectors cannot be linked at all:
            the reason names what they have and have not in common.
    """
    with sparse_layers_for_cpu():
        distiller = Distiller(
            student=dict(config=student),
            teacher=dict(config=teacher, checkpoint=checkpoint),
            links={},
        )
    loaded = distiller.teachers['teacher']
    mine = Side('student', student_name, distiller.student)
    theirs = Side('teacher', teacher, loaded.model)
    for side in (mine, theirs):
        _demand_one_stage(side)
    _demand_same_ground(mine, theirs)
    loaded.load()  # its file may name its classes
    class_map(mine.model, theirs.model)  # refuses detectors without a class in common
    batch, teacher_batch = _made_up_batches(distiller, mine)
    return Pair(
        replace(mine, outputs=_run(mine, batch, 'loss')),
        replace(theirs, outputs=_run(theirs, teacher_batch, loaded.mode)),
        distiller,
    )


@contextmanager
def sparse_layers_for_cpu() -> Iterator[None]:
    """Let spconv's layers that are built in the block run on the CPU, where plans are made.

    spconv chooses its algorithm when a layer is built, by whether spconv itself knows CUDA, and
    that choice has no kernel for the CPU; the other one runs on both.
    """
    import spconv.pytorch.conv as layers

    before = layers.CPU_ONLY_BUILD
    layers.CPU_ONLY_BUILD = True
    try:
        yield
    finally:
        layers.CPU_ONLY_BUILD = before


def _made_up_batches(distiller: Distiller, student: Side) -> tuple[dict[str, Any], dict[str, Any]]:
    """One made-up frame as each of the two models takes it."""
    example = example_of(student.model)
    if example is None:
        raise ValueError(
            f'no frame can be made up for the student {student.name} '
            f'({type(student.model).__name__}): it reads several sensors, or does not tell the '
            'range or the columns of its points. Link its layers by hand: tools/list_layers.py '
            'lists them'
        )
    with torch.no_grad(), without_trace(student.model):
        batch = dict(distiller.data_preprocessor(copy.deepcopy(example), True))
    own = batch.pop('teacher_data', {})
    return batch, own.get('teacher', batch)


def _run(side: Side, batch: dict[str, Any], mode: str) -> dict[str, Any]:
    """What each part of a detector returns for a batch; nothing behind the last one runs."""
    parts = [part for part in map(side.part, PARTS) if part is not None]
    reader = FeatureRecorder(side.model, parts, side.role)
    try:
        with torch.no_grad(), without_trace(side.model), reader.record() as recording:
            with recording.listen(stop_early=True, always=True):
                side.model(**copy.deepcopy(batch), mode=mode)
            return {part: recording[part] for part in parts}
    except Exception as error:  # whatever a detector raises that meets another one's frames
        raise ValueError(
            f'the {side.role} {side.name} ({type(side.model).__name__}) does not run on a made-up '
            f"frame with the student's points: {type(error).__name__}: {error}"
        ) from error


def _demand_one_stage(side: Side) -> None:
    second = getattr(side.model, 'roi_head', None)
    if second is not None:
        first = family_of(getattr(side.model, 'rpn_head', None))
        anchors = 'AnchorHeadKDLoss at rpn_head, ' if first and first.name == 'anchor' else ''
        raise ValueError(
            f'the {side.role} {side.name} is a detector of two stages, and there is no rule for '
            f'its {type(second).__name__}. By hand can be linked: {anchors}RoIHeadKDLoss between '
            'two such heads, feature losses at backbone and neck'
        )


def _demand_same_ground(student: Side, teacher: Side) -> None:
    ranges = [bev_range(side.model) for side in (student, teacher)]
    if None in ranges:
        return
    mine, theirs = map(xy_of, ranges)
    overlap = [
        min(mine[axis + 2], theirs[axis + 2]) - max(mine[axis], theirs[axis]) for axis in (0, 1)
    ]
    if min(overlap) <= 0:
        raise ValueError(
            f'no range in common: the student sees {list(mine)}, the teacher {list(theirs)} '
            '(x0, y0, x1, y1 in metres)'
        )
