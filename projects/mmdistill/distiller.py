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

from mmdistill.checkpoints import for_distiller
from mmdistill.classes import config_classes, name_classes
from mmdistill.contracts import SampleMemory, Targets
from mmdistill.data_preprocessor import DistillDataPreprocessor, same_settings
from mmdistill.link import Link, build_schedules, weight_at
from mmdistill.reading.recorder import FeatureRecorder
from mmdistill.reading.shapes import Layer, example_of, read_layers, without_trace
from mmdistill.rulebooks import shared_rulebooks
from mmdistill.step import Step
from mmdistill.student import ForwardArguments, read_student_config
from mmdistill.teacher import Teacher, load_strictly, read_model_config
from mmdistill.utils.checkpoint import load_weights

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
            student=dict(type='CenterPoint', ...),              # or dict(config='configs/...py')
            teacher=dict(config='configs/teacher.py', checkpoint='teacher.pth'),
            links=dict(
                neck=dict(
                    student='pts_neck[0]', teacher='pts_neck[0]',
                    loss=dict(type='AttentionTransferLoss', loss_weight=0.5))))

    Needs ``custom_hooks = [dict(type='DistillHook')]`` for schedules, memory banks and resuming.

    When it is built, both models run on a small made-up batch, and links read from it how wide
    their layers are (:mod:`mmdistill.reading.shapes`).

    Args:
        student: Config of the student, any MMEngine ``BaseModel``; or ``dict(config=...)``, a
            config file's path or its content as for a teacher, on request with ``checkpoint=...``,
            weights to start from, and with changes of the model, such as
            ``bbox_head=dict(num_proposals=100)``.
        teacher: Arguments of :class:`~mmdistill.Teacher`.
        teachers: Instead of ``teacher``, several by name; links choose by ``teacher_name``.
        links: Arguments of :class:`~mmdistill.Link` by the link's name.
        targets: Config of a :class:`~mmdistill.contracts.Targets`, which adds what the (first)
            teacher predicts to what the student is trained on.
        student_weight: Factor of the student's own losses, or ``dict(weight=..., schedule=...)``
            with schedules as of a link.
        train_cfg: Nothing; ``mmdet3d.apis`` set it to ``None`` in the config of any model.

    Raises:
        KeyError: A link names a layer or teacher that does not exist.
        ValueError: A config is incomplete or has unknown keys, or a link does not fit its layers.
    """

    def __init__(
        self,
        student: dict,
        links: dict[str, dict],
        teacher: dict | None = None,
        teachers: dict[str, dict] | None = None,
        targets: dict | None = None,
        student_weight: float | dict = 1.0,
        train_cfg: None = None,
    ) -> None:
        super().__init__()
        if train_cfg is not None:
            raise ValueError('train_cfg belongs to the student: model.student.train_cfg')
        config = read_student_config(student)
        self.student_checkpoint = student.get('checkpoint') if 'type' not in student else None
        self.student: BaseModel = MODELS.build(read_model_config(config, 'student'))
        name_classes(self.student, config_classes(config), 'config of the student')
        self._student_weight, self.student_schedules = _scheduled(student_weight)
        with _own_random_numbers():
            self.teachers = _Teachers(_build_teachers(teacher, teachers))
            self.links = _build_links(links)
            self.targets: Targets | None = _build_targets(targets)
            self._connect()
            self.data_preprocessor = self._build_data_preprocessor()
            self._bind()
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
        given = ForwardArguments(self.student, args, kwargs)
        if self.targets is not None and not given.data_samples:
            raise ValueError(
                f'targets ({type(self.targets).__name__}) need data_samples in the batch, and '
                f"{type(self.student).__name__}'s forward got none"
            )
        with ExitStack() as stack:
            stack.enter_context(shared_rulebooks())
            recordings = {}
            for name, to_end in self._teachers_at_work(weights).items():
                run = self.run_teacher(
                    self.teachers[name], teacher_data.get(name), *args, to_end=to_end, **kwargs
                )
                recordings[name] = stack.enter_context(run)
            recording = stack.enter_context(self._student_recorder.record())
            models = {name: teacher.model for name, teacher in self.teachers.items()}
            step = Step(self.student, models, recordings, given.data_samples)
            if self.targets is not None:
                given.data_samples = self.targets(
                    step.data_samples, step.predictions(self._target_teacher)
                )
            with recording.listen():
                losses = self.student(*given.args, **given.kwargs, mode='loss')
            losses = self._weigh_own(losses)
            for name, link in self.links.items():
                if weights[name]:
                    taught = recordings[link.teacher_name]
                    value = weights[name] * link.join(recording, taught, step)
                else:
                    value = _zero_with_gradients(link, losses)
                losses[LOSS_PREFIX + name] = value
        return losses

    def _weigh_own(self, losses: dict[str, Any]) -> dict[str, Any]:
        """Multiply the student's own losses by ``student_weight``, and log that where it is set."""
        if self._student_weight == 1 and not self.student_schedules:
            return losses
        weight = weight_at(self._student_weight, self.student_schedules, *self._now())
        weighed = {
            key: _times(value, weight) if 'loss' in key else value for key, value in losses.items()
        }
        return {**weighed, 'student_weight': _first_tensor(losses).new_tensor(weight)}

    def _teachers_at_work(self, weights: dict[str, float]) -> dict[str, bool]:
        """Names of the teachers that this step needs, and whether they must run to their end."""
        to_end: dict[str, bool] = {}
        if self.targets is not None:
            to_end[self._target_teacher] = True
        for name, link in self.links.items():
            if weights[name]:
                asks = 'teacher_predictions' in link.needs
                to_end[link.teacher_name] = to_end.get(link.teacher_name, False) or asks
        return to_end

    @property
    def _target_teacher(self) -> str:
        """The teacher whose predictions become targets: the only one, or the first."""
        return next(iter(self.teachers))

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
            scheduled += ['student_weight'] if self.student_schedules else []
            if scheduled:
                raise RuntimeError(
                    f'links {scheduled} have a schedule, but nothing reports epoch and iteration: '
                    "add custom_hooks = [dict(type='DistillHook')] to the config"
                )
        return {name: link.weight_at(*self._now()) for name, link in self.links.items()}

    def _now(self) -> tuple[int, int]:
        """Epoch and global iteration, from 0."""
        return self.progress or (0, 0)

    # ------------------------------------------------------------------ set-up
    def init_weights(self) -> None:
        """Initialise the student exactly as if it were trained alone, then links and teachers."""
        self.student.init_weights()
        if self.student_checkpoint is not None:
            weights = load_weights(self.student_checkpoint)['state_dict']
            load_strictly(self.student, weights, f'student ({self.student_checkpoint})')
        with _own_random_numbers():
            for link in self.links.values():
                link.init_weights()
        for teacher in self.teachers.values():
            teacher.load()
        self.bind_classes()

    def bind_classes(self) -> None:
        """Compare the classes of the models by name, where links and targets read them.

        Done where the run starts: then the teachers' checkpoints have told theirs, and
        :class:`~mmdistill.hooks.DistillHook` those of the data set.

        Raises:
            ValueError: Classes do not fit; the message gives both lists.
        """
        for link in self.links.values():
            link.bind_classes(self.student, self.teachers[link.teacher_name].model)
        if self.targets is not None:
            teacher = self.teachers[self._target_teacher]
            self.targets.bind_classes(self.student, teacher.model)

    @property
    def memories(self) -> dict[str, SampleMemory]:
        """What losses keep of samples, by their path below the distiller."""
        modules = self.links.named_modules(prefix='links')
        return {name: module for name, module in modules if isinstance(module, SampleMemory)}

    def keeps_memory(self) -> bool:
        """Whether any loss keeps rows for the samples of the data set."""
        return any(memory.counts_samples for memory in self.memories.values())

    def prepare(self, num_samples: int) -> None:
        """Tell every memory how long the data set is."""
        for memory in self.memories.values():
            memory.resize(num_samples)

    def _connect(self) -> None:
        for name, link in self.links.items():
            if link.teacher_name not in self.teachers:
                raise KeyError(
                    f'link {name!r} asks for teacher {link.teacher_name!r}; there is '
                    f'{sorted(self.teachers)}'
                )
            link.find_rows(self.student, self.teachers[link.teacher_name].model)
        everything = dict.fromkeys(self.links, 1.0)
        for name, to_end in self._teachers_at_work(everything).items():
            self.teachers[name].demand_predictions(to_end)
        for name, teacher in self.teachers.items():
            own = self._links_of(name).values()
            teacher.watch([layer for link in own for layer in link.teacher_layers])
        students = [layer for link in self.links.values() for layer in link.student_layers]
        self._student_recorder = FeatureRecorder(
            self.student, students, role='student', needs_grad=True
        )

    def _links_of(self, teacher: str) -> dict[str, Link]:
        return {name: link for name, link in self.links.items() if link.teacher_name == teacher}

    def _bind(self) -> None:
        """Read the shapes of all linked layers from a made-up batch, and fit the links to them."""
        student_layers, teacher_layers = self._read_layers()
        for name, link in self.links.items():
            link.bind(student_layers[name], teacher_layers[name])
        if self.targets is not None:
            self.targets.bind(self.student, self.teachers[self._target_teacher].model)

    def _read_layers(self) -> tuple[dict[str, Layer], dict[str, Layer]]:
        """The student's and the teacher's layer of each link."""
        example = example_of(self.student) if self.links else None
        batch, teacher_batches = None, dict.fromkeys(self.teachers)
        if example is not None:
            with torch.no_grad(), without_trace(self.student):
                batch = dict(self.data_preprocessor(copy.deepcopy(example), True))
            own = batch.pop('teacher_data', {})
            teacher_batches = {name: own.get(name, batch) for name in self.teachers}
        names = list(self.links)
        layers = read_layers(
            self.student, [self.links[n].student for n in names], batch, 'student', 'loss'
        )
        student_layers = dict(zip(names, layers, strict=True))
        teacher_layers = {}
        for teacher_name, teacher in self.teachers.items():
            mine = self._links_of(teacher_name)
            recorders = [link.teacher for link in mine.values()]
            batch = teacher_batches[teacher_name]
            found = read_layers(teacher.model, recorders, batch, teacher_name, teacher.mode)
            teacher_layers.update(zip(mine, found, strict=True))
        return student_layers, teacher_layers

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
        for teacher in self.teachers.owned():
            teacher.model._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def _set_device(self, device: torch.device) -> None:
        super()._set_device(device)
        for teacher in self.teachers.owned():
            if isinstance(teacher.model, BaseModel):
                teacher.model._set_device(device)


class _Teachers(dict):
    """Teachers by name, which belong to one distiller: copies (EMA) share and never move them."""

    is_owner = True

    def owned(self) -> list[Teacher]:
        """The teachers that move along with the distiller."""
        return list(self.values()) if self.is_owner else []

    def __deepcopy__(self, memo: dict) -> _Teachers:
        shared = _Teachers(self)
        shared.is_owner = False
        return shared


def _scheduled(weight: float | dict) -> tuple[float, list]:
    """Return a weight and its schedules."""
    if not isinstance(weight, Mapping):
        return float(weight), []
    unknown = set(weight) - {'weight', 'schedule'}
    if unknown:
        raise ValueError(f'student_weight takes weight and schedule, not {sorted(unknown)}')
    return float(weight.get('weight', 1.0)), build_schedules(weight.get('schedule'))


def _build_targets(config: dict | None) -> Targets | None:
    if config is None:
        return None
    targets = MODELS.build(copy.deepcopy(config))
    if not isinstance(targets, Targets):
        raise ValueError(
            f'{type(targets).__name__} makes no targets: derive it from mmdistill.contracts.Targets'
        )
    return targets


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


def _zero_with_gradients(link: Link, losses: Mapping[str, Any]) -> Tensor:
    """A zero that touches every parameter of a link, so that DDP sees no unused ones."""
    parameters = [p for p in link.parameters() if p.requires_grad]
    if parameters:
        return sum(p.sum() * 0 for p in parameters)
    return _first_tensor(losses).new_zeros(())


def _first_tensor(losses: Mapping[str, Any]) -> Tensor:
    """The first loss, which says where losses lie."""
    value = next(iter(losses.values()))
    return value[0] if isinstance(value, (list, tuple)) else value


def _times(value: Any, weight: float) -> Any:
    if isinstance(value, (list, tuple)):
        return [_times(item, weight) for item in value]
    return value * weight
