"""Link: one teacher layer -> one student layer -> connectors -> one loss."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModule, ModuleDict, Sequential
from mmengine.registry import MODELS
from torch import Tensor

from mmdistill.address import describe
from mmdistill.schedule import WeightSchedule

# What a loss or mask may ask for by the name of a keyword-only argument of its `forward`.
CONTEXT_KEYS = (
    'sample_idx',
    'data_samples',
    'teacher_predictions',
    'student_model',
    'teacher_model',
    'mask',
)


class Link(BaseModule):
    """Joins a layer of the student with a layer of a teacher by one loss.

    Config lines (the key is the link's name, and its logged name is ``distill/<name>``)::

        links=dict(
            neck_crd=dict(
                student='pts_neck[0]', teacher='pts_neck[0]',
                loss=dict(type='CRDLoss', student_channels=256, teacher_channels=512)))

    Args:
        name: Name in the config, the log and error messages.
        student: Layer address in the student, see :class:`~mmdistill.LayerAddress`.
        teacher: Layer address in the teacher.
        loss: Config of the loss, called as ``loss(student_feature, teacher_feature)``. Keyword-only
            arguments of its ``forward`` are filled by name: ``sample_idx`` (index of each sample
            in the data set, ``(B,)`` on the CPU), ``data_samples``, ``teacher_predictions`` (the
            samples that the teacher's ``predict`` returned; asking makes the teacher run to its
            end), ``student_model``, ``teacher_model`` and ``mask``. Where the loss has a method
            ``check_models(student, teacher)``, that is called when the distiller is built.
        student_connector: Config, or list of configs, of modules that the student's feature
            passes before the loss.
        teacher_connector: The same for the teacher's feature.
        mask: Config of a module that says how much each position of the student's feature
            (behind its connector) counts: called as ``mask(student_feature)``, with keyword-only
            arguments as for losses, it returns ``(B, 1, H, W)``. The loss must take a ``mask``.
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
        self.student_spec, self.teacher_spec = student, teacher
        self.teacher_name = teacher_name
        self.weight = float(weight)
        self.student_connector = _build_connector(student_connector)
        self.teacher_connector = _build_connector(teacher_connector)
        self.loss = MODELS.build(loss)
        self.mask = None if mask is None else MODELS.build(mask)
        self._loss_asks = _context_arguments(self.loss, name)
        self._mask_asks = [] if mask is None else _context_arguments(self.mask, name)
        if mask is not None and 'mask' not in self._loss_asks:
            raise ValueError(
                f'the link has a mask, and its loss {type(self.loss).__name__} takes none; '
                'remove the mask, or choose a loss of maps'
            )
        self.asks_for = {*self._loss_asks, *self._mask_asks} - {'mask'}
        schedules = [schedule] if isinstance(schedule, Mapping) else schedule or []
        self.schedules = [WeightSchedule(**item) for item in schedules]
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

    def weight_at(self, epoch: int, iteration: int) -> float:
        """Return the weight at an epoch and global iteration, both counted from 0."""
        weight = self.weight
        for schedule in self.schedules:
            weight *= schedule.factor(epoch, iteration)
        return weight

    def forward(self, student_feature: Any, teacher_feature: Any, context: dict) -> Tensor:
        """Return the loss between two recorded features, without the link's weight.

        Args:
            student_feature: What the student's layer returned.
            teacher_feature: What the teacher's layer returned.
            context: Values for the loss's keyword-only arguments, by name.

        Raises:
            ValueError: The features do not fit the connectors or the loss.
        """
        if not self._has_joined:
            print_log(
                f'link {self.name}: student {self.student_spec}: {describe(student_feature)} <- '
                f'{self.teacher_name} {self.teacher_spec}: {describe(teacher_feature)}',
                logger='current',
            )
        try:
            student_feature = self.student_connector(student_feature)
            teacher_feature = self.teacher_connector(teacher_feature)
            loss = self.loss(
                student_feature,
                teacher_feature,
                **self._extra(student_feature, context),
            )
        except (ValueError, KeyError, IndexError) as error:
            raise ValueError(
                f'link {self.name!r} (student {self.student_spec}, {self.teacher_name} '
                f'{self.teacher_spec}): {error}'
            ) from error
        self._has_joined = True
        return loss

    def _extra(self, student_feature: Any, context: dict) -> dict[str, Any]:
        """Collect what the loss asks for, the mask included."""
        if self.mask is not None:
            asked = {key: context[key] for key in self._mask_asks}
            context = {**context, 'mask': self.mask(student_feature, **asked)}
        return {key: context.get(key) if key == 'mask' else context[key] for key in self._loss_asks}


def _build_connector(config: dict | Sequence[dict] | None) -> Sequential:
    configs = [config] if isinstance(config, Mapping) else config or []
    return Sequential(*(MODELS.build(item) for item in configs))


def _context_arguments(module: Any, name: str) -> list[str]:
    """Keyword-only arguments of a loss or mask, which the distiller must be able to supply.

    A module that needs some of them only at times (teacher boxes are not free) says which in
    ``asks_for``.
    """
    wanted = getattr(module, 'asks_for', CONTEXT_KEYS)
    asked = []
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        if parameter.name in CONTEXT_KEYS:
            if parameter.name in wanted:
                asked.append(parameter.name)
        elif parameter.default is parameter.empty:
            raise ValueError(
                f'{type(module).__name__} of link {name!r} asks for {parameter.name!r}; a link '
                f'supplies {CONTEXT_KEYS}'
            )
    return asked
