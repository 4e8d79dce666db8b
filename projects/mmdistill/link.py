"""Link: one teacher layer -> one student layer -> connectors -> one loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule, ModuleDict, Sequential
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmdistill.contracts import NEEDS, Connector, LinkLoss, Mask
from mmdistill.reading.address import describe
from mmdistill.reading.recorder import Recording
from mmdistill.reading.recorders import Recorder, build_recorder
from mmdistill.reading.rows import demand_same_rows, rows_of
from mmdistill.reading.shapes import Layer, without_trace
from mmdistill.schedule import WeightSchedule
from mmdistill.step import Step

Aligner = Callable[[Layer, Layer, bool], Connector | None]

_ALIGNERS: list[Aligner] = []


def register_aligner(function: Aligner) -> Aligner:
    """Let a function say how a teacher's layer is brought to where the student's lies.

    Args:
        function: Takes the student's and the teacher's layer, behind their connectors, and whether
            the loss compares them position by position; returns a connector without parameters for
            the teacher's feature, or ``None`` where nothing is to be done.
    """
    _ALIGNERS.append(function)
    return function


class Link(BaseModule):
    """Joins a layer of the student with a layer of a teacher by one loss.

    Config lines (the key is the link's name, and its logged name is ``distill/<name>``)::

        links=dict(
            neck_crd=dict(
                student='pts_neck[0]', teacher='pts_neck[0]', loss=dict(type='CRDLoss')))

    Args:
        name: Name in the config, the log and error messages.
        student: Layer address in the student, or the config of a recorder, see
            :func:`~mmdistill.reading.build_recorder`.
        teacher: The same in the teacher.
        loss: Config of a :class:`~mmdistill.contracts.LinkLoss`.
        student_connector: Config, or list of configs, of what the student's feature passes before
            the loss, each a :class:`~mmdistill.contracts.Connector`.
        teacher_connector: The same for the teacher's feature; without trainable weights, as no
            loss passes a gradient there.
        mask: Config of a :class:`~mmdistill.contracts.Mask`, which says how much each position of
            the student's feature (behind its connector) counts. The loss must take a ``mask``.
        weight: Factor of the loss, on top of its own ``loss_weight``; 0 without a schedule
            switches the link off.
        schedule: Config of a :class:`~mmdistill.WeightSchedule`, or a list whose factors multiply.
        teacher_name: Which teacher, when there are several.
    """

    def __init__(
        self,
        name: str,
        student: str | dict,
        teacher: str | dict,
        loss: dict,
        student_connector: dict | Sequence[dict] | None = None,
        teacher_connector: dict | Sequence[dict] | None = None,
        mask: dict | None = None,
        weight: float = 1.0,
        schedule: dict | Sequence[dict] | None = None,
        teacher_name: str = 'teacher',
    ) -> None:
        super().__init__()
        self.name = name
        self.student, self.teacher = build_recorder(student), build_recorder(teacher)
        self.teacher_name = teacher_name
        self.weight = float(weight)
        self.student_connector = _build_connectors(student_connector)
        self.teacher_connector = _build_connectors(teacher_connector)
        self.loss: LinkLoss = _build(loss, LinkLoss)
        self.mask: Mask | None = None if mask is None else _build(mask, Mask)
        if mask is not None and 'mask' not in self.loss.needs:
            raise ValueError(
                f'the link has a mask, and its loss {type(self.loss).__name__} takes none; '
                'remove the mask, or choose a loss of maps'
            )
        self.schedules = build_schedules(schedule)
        self._rows: tuple[Recorder, Recorder] | None = None  # where both sides tell theirs
        self._has_joined = False

    @classmethod
    def from_config(cls, name: str, config: dict) -> Link:
        """Build a link, naming it in every error of its config."""
        allowed = [
            p for p in inspect.signature(cls.__init__).parameters if p not in ('self', 'name')
        ]
        if not name.isidentifier() or hasattr(ModuleDict, name):
            raise ValueError(f'{name!r} cannot name a link: use letters, digits and _')
        unknown = sorted(set(config) - set(allowed))
        missing = sorted({'student', 'teacher', 'loss'} - set(config))
        if unknown or missing:
            raise ValueError(
                f'link {name!r}: unknown keys {unknown}, missing keys {missing}; a link takes '
                f'{allowed}'
            )
        try:
            return cls(name, **config)
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f'link {name!r}: {error}') from error

    @property
    def needs(self) -> set[str]:
        """What loss and mask ask of a step."""
        masks = () if self.mask is None else self.mask.needs
        return {*self.loss.needs, *masks} - {'mask'}

    def find_rows(self, student: nn.Module, teacher: nn.Module) -> None:
        """Find what says for what the rows of both layers stand, if the loss compares them.

        Raises:
            KeyError: A model has no such layer; the message lists the nearest names.
            ValueError: They are each model's own, or one side alone says what they are.
        """
        self.student.check(student, 'student')
        self.teacher.check(teacher, self.teacher_name)
        if self.loss.joins != 'cells':
            return
        with self._named_errors():
            mine, theirs = rows_of(student, self.student), rows_of(teacher, self.teacher)
            if (mine is None) != (theirs is None):
                known = 'student' if theirs is None else 'teacher'
                raise ValueError(
                    f"the {known}'s rows are those of {mine or theirs}, and nobody says what the "
                    "other side's are; link the same kind of layer in both"
                )
            self._rows = None if mine is None else (mine, theirs)

    @property
    def student_layers(self) -> list[Recorder]:
        """What is recorded in the student."""
        return [self.student, *(self._rows or ())[:1]]

    @property
    def teacher_layers(self) -> list[Recorder]:
        """What is recorded in the teacher."""
        return [self.teacher, *(self._rows or ())[1:]]

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Fit connectors, aligner, mask and loss to the two layers.

        The teacher's side comes first, so that the student's connectors know how wide it is behind
        its own.

        Raises:
            ValueError: Something does not fit; the message names the link.
        """
        with self._named_errors():
            teacher = _bind_connectors(self.teacher_connector, teacher, student)
            if any(p.requires_grad for p in self.teacher_connector.parameters()):
                kinds = [type(connector).__name__ for connector in self.teacher_connector]
                raise ValueError(
                    f'its teacher_connector {kinds} has weights that would never be trained: no '
                    "loss passes a gradient to the teacher's side; put the connector on the "
                    "student's side, or choose a loss with a projector of its own for the teacher"
                )
            student = _bind_connectors(self.student_connector, student, teacher)
            teacher = self._align(student, teacher)
            if self.mask is not None:
                self.mask.bind(student, teacher)
            self.loss.bind(student, teacher)
            for module in (self.loss, self.mask):
                unknown = set(module.needs if module is not None else ()) - set(NEEDS)
                if unknown:
                    raise ValueError(
                        f'{type(module).__name__} needs {sorted(unknown)}; a step gives {NEEDS}'
                    )

    def _align(self, student: Layer, teacher: Layer) -> Layer:
        """Bring the teacher's map to where the student's lies, and return its layer there.

        Raises:
            ValueError: Connectors of the config have not done so.
        """
        if self.loss.joins == 'nothing':
            return teacher
        by_position = self.loss.joins == 'cells'
        aligners = (aligner(student, teacher, by_position) for aligner in _ALIGNERS)
        found = [aligner for aligner in aligners if aligner is not None]
        explicit = [c for c in (*self.teacher_connector, *self.student_connector) if c.joins_places]
        if found and explicit:
            kinds = [type(connector).__name__ for connector in explicit]
            raise ValueError(
                f'behind its {kinds} the maps do not lie in the same place: {student} has '
                f'{_place(student)}, {teacher} {_place(teacher)}. Leave out connectors that move '
                'cells, and the link joins the maps by itself, or correct them'
            )
        self.teacher_connector = Sequential(*self.teacher_connector, *found)
        return _bind_connectors(found, teacher, student)

    def bind_classes(self, student: nn.Module, teacher: nn.Module) -> None:
        """Let the loss compare the classes of the two models, naming the link in errors."""
        with self._named_errors():
            self.loss.bind_classes(student, teacher)

    def weight_at(self, epoch: int, iteration: int) -> float:
        """Return the weight at an epoch and global iteration, both counted from 0."""
        return weight_at(self.weight, self.schedules, epoch, iteration)

    def join(self, student: Recording, teacher: Recording, step: Step) -> Tensor:
        """Return the loss between what two passes recorded, see :meth:`forward`.

        Raises:
            ValueError: The rows of the two layers stand for other things.
        """
        if self._rows is not None:
            with self._named_errors():
                demand_same_rows(student[self._rows[0]], teacher[self._rows[1]])
        return self(student[self.student], teacher[self.teacher], step)

    def forward(self, student_feature: Any, teacher_feature: Any, step: Step) -> Tensor:
        """Return the loss between two recorded features, without the link's weight.

        Args:
            student_feature: What the student's layer returned.
            teacher_feature: What the teacher's layer returned.
            step: What the loss and the mask may ask for.

        Raises:
            ValueError: The features do not fit the connectors or the loss.
        """
        if not self._has_joined:
            print_log(
                f'link {self.name}: student {self.student}: {describe(student_feature)} <- '
                f'{self.teacher_name} {self.teacher}: {describe(teacher_feature)}',
                logger='current',
            )
        with self._named_errors():
            seen = [
                _seen(self.student_connector, student_feature),
                _seen(self.teacher_connector, teacher_feature),
            ]
            student_feature = self.student_connector(student_feature)
            teacher_feature = self.teacher_connector(teacher_feature)
            given = {
                need: step.give(need, self.teacher_name)
                for need in self.loss.needs
                if need != 'mask'
            }
            if 'mask' in self.loss.needs:
                given['mask'] = self._weigh(student_feature, step, seen)
            loss = self.loss(student_feature, teacher_feature, **given)
        self._has_joined = True
        return loss

    def _weigh(
        self, student_feature: Any, step: Step, seen: Sequence[Tensor | None]
    ) -> Tensor | None:
        """Weights of the positions: the mask's, and none where one side tells nothing."""
        weights = None
        if self.mask is not None:
            asked = {need: step.give(need, self.teacher_name) for need in self.mask.needs}
            weights = self.mask(student_feature, **asked)
        for told in seen:
            if told is not None:
                weights = told if weights is None else weights * told
        return weights

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise ValueError(
                f'link {self.name!r} (student {self.student}, {self.teacher_name} '
                f'{self.teacher}): {error}'
            ) from error


def build_schedules(schedule: Mapping | Sequence[Mapping] | None) -> list[WeightSchedule]:
    """Build the schedules of one weight, whose factors multiply."""
    schedules = [schedule] if isinstance(schedule, Mapping) else schedule or []
    return [WeightSchedule(**item) for item in schedules]


def weight_at(
    weight: float, schedules: Sequence[WeightSchedule], epoch: int, iteration: int
) -> float:
    """Return a scheduled weight at an epoch and global iteration, both counted from 0."""
    for schedule in schedules:
        weight *= schedule.factor(epoch, iteration)
    return weight


def _build(config: dict, kind: type) -> Any:
    module = MODELS.build(config)
    if not isinstance(module, kind):
        raise ValueError(
            f'{type(module).__name__} is no {kind.__name__}: derive it from '
            f'mmdistill.contracts.{kind.__name__}'
        )
    return module


def _build_connectors(config: dict | Sequence[dict] | None) -> Sequential:
    configs = [config] if isinstance(config, Mapping) else config or []
    return Sequential(*(_build(item, Connector) for item in configs))


def _seen(connectors: Iterable[Connector], feature: Any) -> Tensor | None:
    """Where a map tells something behind its connectors, ``(B, 1, H, W)``; ``None``: everywhere."""
    if not any(connector.is_partial for connector in connectors):
        return None
    told = torch.ones_like(feature[:, :1])
    for connector in connectors:
        told = connector(told) if connector.joins_places else told
    return told


def _place(layer: Layer) -> str:
    return f'axes {layer.axes!r}, range {layer.range} and {layer.size} cells'


def _bind_connectors(connectors: Iterable[Connector], layer: Layer, other: Layer) -> Layer:
    """Bind connectors one behind the other, and return the layer behind the last."""
    for connector in connectors:
        connector.bind(layer, other)
        value = None
        if layer.value is not None:
            with torch.no_grad(), without_trace(connector):
                value = connector(layer.value)
        layer = replace(layer, value=value, **connector.facts(layer))
    return layer
