"""Distiller: a student that is trained by its own losses and by links to teachers."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmdistill.address import LayerAddress
from mmdistill.checkpoints import for_distiller
from mmdistill.data_preprocessor import DistillDataPreprocessor, same_settings
from mmdistill.link import Link
from mmdistill.recorder import FeatureRecorder
from mmdistill.teacher import Teacher

LOSS_PREFIX = 'distill/'


@MODELS.register_module()
class Distiller(BaseModel):
    """Trains a student with the help of frozen teachers; otherwise it *is* the student.

    ``loss`` runs the teachers and then the student on the same augmented batch and returns the
    student's losses plus ``distill/<link>`` for each link. ``predict`` and ``tensor`` are the
    student's alone. While every link of a teacher has weight zero, that teacher does not run,
    unless it makes targets.

    Config lines::

        model = dict(
            type='Distiller',
            student=dict(type='CenterPoint', ...),
            teacher=dict(config='configs/teacher.py', checkpoint='teacher.pth'),
            links=dict(
                neck=dict(
                    student='pts_neck[0]', teacher='pts_neck[0]',
                    loss=dict(type='AttentionTransferLoss', loss_weight=0.5))))

    Needs ``custom_hooks = [dict(type='DistillHook')]`` for schedules, memory banks and resuming.

    Args:
        student: Config of the student, any MMEngine ``BaseModel``.
        teacher: Arguments of :class:`~mmdistill.Teacher`.
        teachers: Instead of ``teacher``, several by name; links choose by ``teacher_name``.
        links: Arguments of :class:`~mmdistill.Link` by the link's name.
        targets: Config of a module that adds what the teacher predicts to the student's training
            targets, called as ``targets(data_samples, teacher_predictions)`` and returning new
            samples; links still see the original ones. Where it has a method
            ``check_models(student, teacher)``, that is called when the distiller is built.
        train_cfg: Nothing; ``mmdet3d.apis`` set it to ``None`` in the config of any model.

    Raises:
        KeyError: A link names a layer or teacher that does not exist.
        ValueError: A config is incomplete or has unknown keys.
    """

    def __init__(
        self,
        student: dict,
        links: dict[str, dict],
        teacher: dict | None = None,
        teachers: dict[str, dict] | None = None,
        targets: dict | None = None,
        train_cfg: None = None,
    ) -> None:
        super().__init__()
        if train_cfg is not None:
            raise ValueError('train_cfg belongs to the student: model.student.train_cfg')
        self.student: BaseModel = MODELS.build(copy.deepcopy(student))
        with _own_random_numbers():
            self.teachers = _build_teachers(teacher, teachers)
            self.links = _build_links(links)
            self.targets = None if targets is None else MODELS.build(copy.deepcopy(targets))
        self._connect()
        self.data_preprocessor = self._build_data_preprocessor()
        self.progress: tuple[int, int] | None = None

    # ------------------------------------------------------------------ training step
    def forward(
        self, *args: Any, mode: str = 'tensor', teacher_data: dict | None = None, **kwargs: Any
    ) -> Any:
        """Forward a preprocessed batch; arguments are those of the student's ``forward``.

        Args:
            mode: ``'loss'``, ``'predict'`` or ``'tensor'``.
            teacher_data: Batches of teachers that have a preprocessing of their own, by name.
        """
        if mode == 'loss':
            return self.loss(*args, teacher_data=teacher_data or {}, **kwargs)
        return self.student(*args, mode=mode, **kwargs)

    def loss(self, *args: Any, teacher_data: dict, **kwargs: Any) -> dict[str, Tensor]:
        """Return the student's losses and one ``distill/<link>`` for each link."""
        weights = self.link_weights()
        given = inspect.signature(self.student.forward).bind_partial(*args, **kwargs)
        self._check_samples(given)
        with ExitStack() as stack:
            features = {}
            for name, to_end in self._teachers_at_work(weights).items():
                run = self.run_teacher(
                    self.teachers[name], teacher_data.get(name), *args, to_end=to_end, **kwargs
                )
                features[name] = stack.enter_context(run)
            recording = stack.enter_context(self._student_recorder.record())
            context = self._context(given.arguments.get('data_samples'))
            if self.targets is not None:
                given.arguments['data_samples'] = self.targets(
                    context['data_samples'], features[self._target_teacher].predictions
                )
            with recording.listen():
                losses = self.student(*given.args, **given.kwargs, mode='loss')
            for name, link in self.links.items():
                if weights[name]:
                    value = weights[name] * self._join(name, link, recording, features, context)
                else:
                    value = _zero_with_gradients(link, losses)
                losses[LOSS_PREFIX + name] = value
        return losses

    def _join(
        self, name: str, link: Link, recording: Any, features: dict[str, Any], context: dict
    ) -> Tensor:
        """Return the loss of one link."""
        student_address, teacher_address = self._addresses[name]
        teacher = features[link.teacher_name]
        context = {
            **context,
            'teacher_predictions': teacher.predictions,
            'teacher_model': self.teachers[link.teacher_name].model,
        }
        return link(recording[student_address], teacher[teacher_address], context)

    def _teachers_at_work(self, weights: dict[str, float]) -> dict[str, bool]:
        """Names of the teachers that this step needs, and whether they must run to their end."""
        to_end: dict[str, bool] = {}
        if self.targets is not None:
            to_end[self._target_teacher] = True
        for name, link in self.links.items():
            if weights[name]:
                asks = 'teacher_predictions' in link.asks_for
                to_end[link.teacher_name] = to_end.get(link.teacher_name, False) or asks
        return to_end

    @property
    def _target_teacher(self) -> str:
        """The teacher whose predictions become targets: the only one, or the first."""
        return next(iter(self.teachers))

    def _check_samples(self, given: inspect.BoundArguments) -> None:
        """Targets are made from samples, which a batch need not have."""
        if self.targets is not None and not given.arguments.get('data_samples'):
            raise ValueError(
                f'targets ({type(self.targets).__name__}) need data_samples in the batch, and '
                f"{type(self.student).__name__}'s forward got {sorted(given.arguments)}"
            )

    def _context(self, data_samples: Any) -> dict[str, Any]:
        """Collect what losses ask for by name; a value that a batch lacks is ``None``."""
        context = dict(data_samples=data_samples, student_model=self.student)
        if any('sample_idx' in link.asks_for for link in self.links.values()):
            context['sample_idx'] = _sample_idx(data_samples)
        return context

    def run_teacher(
        self, teacher: Teacher, data: dict | None, *args: Any, to_end: bool = False, **kwargs: Any
    ) -> Any:
        """Run one teacher on its own batch, or on the student's when they are prepared alike."""
        if data is not None:
            args, kwargs = (), data
        return teacher.run(*args, to_end=to_end, **kwargs)

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum the losses; the links' count, though their names do not contain ``loss``."""
        own = {key: value for key, value in losses.items() if not key.startswith(LOSS_PREFIX)}
        total, log_vars = self.student.parse_losses(own)
        links = {key: value for key, value in losses.items() if key not in own}
        for value in links.values():  # in their order: the rounding of a sum depends on it
            total = total + value
        log_vars.update(links)
        log_vars['loss'] = total
        return total, log_vars

    def link_weights(self) -> dict[str, float]:
        """Return every link's weight at the current point of training.

        Raises:
            RuntimeError: A link has a schedule and nobody reports the progress of training.
        """
        if self.progress is None:
            scheduled = [name for name, link in self.links.items() if link.schedules]
            if scheduled:
                raise RuntimeError(
                    f'links {scheduled} have a schedule, but nothing reports epoch and iteration: '
                    "add custom_hooks = [dict(type='DistillHook')] to the config"
                )
        epoch, iteration = self.progress or (0, 0)
        return {name: link.weight_at(epoch, iteration) for name, link in self.links.items()}

    # ------------------------------------------------------------------ set-up
    def init_weights(self) -> None:
        """Initialise the student exactly as if it were trained alone, then links and teachers."""
        self.student.init_weights()
        with _own_random_numbers():
            for link in self.links.values():
                link.init_weights()
        for teacher in self.teachers.values():
            teacher.load()

    def keeps_memory(self) -> bool:
        """Whether any loss keeps a memory of the data set."""
        return any(hasattr(module, 'set_num_samples') for module in self.links.modules())

    def prepare(self, num_samples: int) -> None:
        """Tell every loss that keeps a memory of the data set how long that data set is."""
        for module in self.links.modules():
            if hasattr(module, 'set_num_samples'):
                module.set_num_samples(num_samples)

    def _connect(self) -> None:
        for name, link in self.links.items():
            if link.teacher_name not in self.teachers:
                raise KeyError(
                    f'link {name!r} asks for teacher {link.teacher_name!r}; there is '
                    f'{sorted(self.teachers)}'
                )
        self._addresses: dict[str, tuple[LayerAddress, LayerAddress]] = {}
        for teacher_name, teacher in self.teachers.items():
            mine = {n: link for n, link in self.links.items() if link.teacher_name == teacher_name}
            for name, address in zip(
                mine, teacher.watch([link.teacher_spec for link in mine.values()]), strict=True
            ):
                student = LayerAddress.parse(mine[name].student_spec, self.student, 'student')
                self._addresses[name] = (student, address)
        self._student_recorder = FeatureRecorder(
            self.student,
            [student for student, _ in self._addresses.values()],
            role='student',
            needs_grad=True,
        )
        for name, link in self.links.items():
            if hasattr(link.loss, 'check_models'):
                try:
                    link.loss.check_models(self.student, self.teachers[link.teacher_name].model)
                except ValueError as error:
                    raise ValueError(f'link {name!r}: {error}') from error
        if hasattr(self.targets, 'check_models'):
            teacher = self.teachers[self._target_teacher]
            self.targets.check_models(self.student, teacher.model)

    def _build_data_preprocessor(self) -> nn.Module:
        own = {
            name: teacher
            for name, teacher in self.teachers.items()
            if not same_settings(teacher.model.data_preprocessor, self.student.data_preprocessor)
        }
        if not own:
            return self.student.data_preprocessor
        return DistillDataPreprocessor(self.student.data_preprocessor, own)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Load a plain model's weights as the student's; weights that lack some are refused."""
        fit = for_distiller(state_dict, self.student.state_dict(), prefix)
        if not fit.is_complete:
            raise ValueError(
                f'the weights do not fit the student, {type(self.student).__name__}: {fit}; give '
                'the config that the file was trained with, or a file of this config'
            )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    # ------------------------------------------------------------------ teachers move along
    def _apply(self, fn: Any, recurse: bool = True) -> Distiller:
        for teacher in self.teachers.values():
            teacher.model._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def _set_device(self, device: torch.device) -> None:
        super()._set_device(device)
        for teacher in self.teachers.values():
            if isinstance(teacher.model, BaseModel):
                teacher.model._set_device(device)


def _build_links(configs: dict[str, dict | None]) -> nn.ModuleDict:
    """Build the links that pull at some time: None or a weight of 0 leaves one out."""
    links = {}
    for name, config in configs.items():
        if config is None or (config.get('weight') == 0 and not config.get('schedule')):
            print_log(f'link {name} is switched off', logger='current')
            continue
        links[name] = Link.from_config(name, dict(config))
    return nn.ModuleDict(links)


def _build_teachers(teacher: dict | None, teachers: dict | None) -> dict[str, Teacher]:
    if (teacher is None) == (teachers is None):
        raise ValueError('a distiller takes either `teacher` or `teachers`')
    configs = {'teacher': teacher} if teachers is None else teachers
    built = {}
    for name, config in configs.items():
        allowed = set(inspect.signature(Teacher.__init__).parameters) - {'self', 'name'}
        unknown = set(config) - allowed
        if unknown or 'config' not in config:
            raise ValueError(f'{name}: takes {sorted(allowed)}, got {sorted(config)}')
        built[name] = Teacher(**config, name=name)
    return built


@contextmanager
def _own_random_numbers():
    """Keep torch's random stream as it was, so that the student starts as if trained alone."""
    with torch.random.fork_rng(devices=[]):
        yield


def _sample_idx(samples: Any) -> Tensor | None:
    if not isinstance(samples, (list, tuple)) or not samples:
        return None
    indices = [getattr(sample, 'sample_idx', None) for sample in samples]
    if None in indices:
        return None
    try:
        return torch.tensor([int(index) for index in indices])
    except ValueError as error:
        raise ValueError(
            f"sample_idx must be each sample's index in the data set, got {indices}"
        ) from error


def _zero_with_gradients(link: Link, losses: Mapping[str, Any]) -> Tensor:
    """A zero that touches every parameter of a link, so that DDP sees no unused ones."""
    parameters = [p for p in link.parameters() if p.requires_grad]
    if parameters:
        return sum(p.sum() * 0 for p in parameters)
    value = next(iter(losses.values()))
    value = value[0] if isinstance(value, (list, tuple)) else value
    return value.new_zeros(())
