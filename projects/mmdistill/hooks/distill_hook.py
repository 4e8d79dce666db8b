"""Tells a distiller what only the runner knows, and keeps its teacher's identity."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

from mmdistill.checkpoints import STUDENT, for_distiller, weights_of
from mmdistill.classes import meta_classes, name_classes
from mmdistill.contracts import SampleMemory
from mmdistill.distiller import Distiller
from mmdistill.hooks.fit_checkpoint_hook import (
    bare_model,
    is_training,
    refuse_mere_weights,
    require_fit,
)
from mmdistill.resuming import carry_over, compare_links, describe_run, same_parameters
from mmdistill.utils.dataset import number_samples

# Iterations between looks at the counters of skipped samples within an epoch: each waits for the
# device.
_REPORT_INTERVAL = 50


@HOOKS.register_module()
class DistillHook(Hook):
    """Connects a :class:`~mmdistill.Distiller` with the runner.

    Before training it tells the student the classes of its data set, sizes memory banks by the
    length of the data set, below its wrappers, and numbers the samples of concatenated data sets
    through; before each iteration it reports epoch and iteration to the links' schedules; with each
    checkpoint it stores the teachers' fingerprints and what the links are, and refuses to resume
    with another teacher, other links or another data set. A plain model's weights become the
    student's. It warns of samples that losses with a memory had to skip, and brings the rows of
    banks that are spread over ranks together for checkpoints.

    Config lines::

        custom_hooks = [dict(type='DistillHook')]

    Args:
        allow_other_teacher: Resume although a teacher is not the one the run began with.
        allow_other_links: Resume although links came, went, moved or changed, or the checkpoint is
            a plain run's. The student and the links that are what they were keep weights, banks
            and momentum; the others start anew.

    Raises:
        ValueError: A checkpoint does not fit, or is not this run's to resume.
    """

    # Before EMAHook (NORMAL), whose copy must already have the banks.
    priority = 'VERY_HIGH'

    def __init__(self, allow_other_teacher: bool = False, allow_other_links: bool = False) -> None:
        self.allow_other_teacher = allow_other_teacher
        self.allow_other_links = allow_other_links
        self._skipped: dict[str, int] = {}

    def before_run(self, runner: Any) -> None:
        distiller = find_distiller(runner, type(self).__name__)
        # A runner that only tests or validates has no training data, and needs no banks.
        if not is_training(runner):
            return
        loop = runner.train_loop
        # Before the runner initialises the model, which then compares them with the teachers'.
        classes = meta_classes(getattr(loop.dataloader.dataset, 'metainfo', None))
        name_classes(distiller.student, classes, 'training data')
        if isinstance(loop, IterBasedTrainLoop):
            _refuse_epoch_schedules(distiller)
        if distiller.keeps_memory():
            _refuse_unequal_batches(loop.dataloader)
            distiller.prepare(num_samples=number_samples(loop.dataloader.dataset))
        if any(memory.is_spread for memory in distiller.memories.values()):
            _refuse_averaging(runner)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        find_distiller(runner, type(self).__name__).progress = (runner.epoch, runner.iter)

    def after_train_iter(self, runner: Any, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        if self.every_n_train_iters(runner, _REPORT_INTERVAL):
            self._report_skipped(find_distiller(runner, type(self).__name__))
        # A checkpoint is saved on one rank alone, which is too late for an exchange.
        if any(self._saves_now(hook, runner) for hook in runner.hooks):
            self._gather_banks(runner)

    def after_train_epoch(self, runner: Any) -> None:
        self._report_skipped(find_distiller(runner, type(self).__name__))
        self._gather_banks(runner)

    def before_val_epoch(self, runner: Any) -> None:
        self._gather_banks(runner)

    def _saves_now(self, hook: Hook, runner: Any) -> bool:
        if not isinstance(hook, CheckpointHook) or hook.by_epoch:
            return False
        return self.is_last_train_iter(runner) or self.every_n_train_iters(
            runner, hook.interval, hook.save_begin
        )

    def _gather_banks(self, runner: Any) -> None:
        for memory in find_distiller(runner, type(self).__name__).memories.values():
            memory.gather()

    def _report_skipped(self, distiller: Distiller) -> None:
        for name, link in distiller.links.items():
            skipped = sum(m.skipped for m in link.modules() if isinstance(m, SampleMemory))
            if skipped > self._skipped.get(name, 0):
                print_log(
                    f'link {name}: {skipped} samples so far had features that are not finite; '
                    'they gave no loss and left their rows of the memory bank',
                    logger='current',
                    level=logging.WARNING,
                )
            self._skipped[name] = skipped

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        distiller = find_distiller(runner, type(self).__name__)
        checkpoint['meta']['teachers'] = {
            name: teacher.fingerprint() for name, teacher in distiller.teachers.items()
        }
        checkpoint['meta'].update(describe_run(distiller, runner.optim_wrapper))

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        distiller = find_distiller(runner, type(self).__name__)
        if runner._resume:
            refuse_mere_weights(runner, checkpoint)
        _load_student(runner, distiller, checkpoint)
        # Only resuming continues a run; testing and fine-tuning may load any student.
        if runner._resume:
            _refuse_other_memory(distiller, checkpoint['state_dict'])
            self._compare_teachers(distiller, checkpoint)
            self._compare_links(runner, distiller, checkpoint)

    def _compare_teachers(self, distiller: Distiller, checkpoint: dict) -> None:
        stored = checkpoint['meta'].get('teachers')
        if stored is None:
            return
        now = {name: teacher.fingerprint() for name, teacher in distiller.teachers.items()}
        changed = sorted(n for n in stored.keys() | now.keys() if stored.get(n) != now.get(n))
        if changed:
            self._refuse_or_warn(
                f'this run began with other weights or another config of {changed}',
                'give the same teacher, or allow the change',
                'allow_other_teacher',
            )

    def _compare_links(self, runner: Any, distiller: Distiller, checkpoint: dict) -> None:
        changes = compare_links(distiller, checkpoint)
        if not changes and same_parameters(distiller, checkpoint, runner.optim_wrapper):
            return
        self._refuse_or_warn(
            str(changes) if changes else 'the optimizer of this run has other parameters',
            'give the config that the run began with, start a new run from its student with '
            'load_from=CHECKPOINT and resume=False, or let the student and the links that are what '
            f'they were ({", ".join(changes.kept) or "none"}) go on, and the others start anew',
            'allow_other_links',
        )
        carry_over(distiller, checkpoint, changes, runner.optim_wrapper)

    def _refuse_or_warn(self, what: str, advice: str, option: str) -> None:
        if getattr(self, option):
            print_log(what, logger='current', level=logging.WARNING)
            return
        raise ValueError(
            f"{what}; {advice} with custom_hooks = [dict(type='{type(self).__name__}', "
            f'{option}=True)]'
        )


def find_distiller(runner: Any, asked_by: str) -> Distiller:
    """Return the runner's distiller, unwrapped from DDP and test-time augmentation.

    Raises:
        TypeError: The runner trains a plain model.
    """
    model = bare_model(runner)
    if not isinstance(model, Distiller):
        raise TypeError(
            f'{asked_by} belongs to a Distiller, but the model is {type(model).__name__}; '
            'remove it from custom_hooks'
        )
    return model


def _load_student(runner: Any, distiller: Distiller, checkpoint: dict) -> None:
    """Bring a checkpoint's weights under the distiller's names, those of its averages too."""
    student = distiller.student.state_dict()
    weights = checkpoint['state_dict'] = weights_of(checkpoint)
    require_fit(for_distiller(weights, student), distiller.student, runner, checkpoint)
    if 'ema_state_dict' in checkpoint:
        for_distiller(checkpoint['ema_state_dict'], student, prefix='module.')
    for name, value in student.items():
        # What a new run starts without keeps its initialisation; a distiller alone refuses it.
        stored = weights.get(STUDENT + name)
        if stored is None or stored.numel() != value.numel():
            weights[STUDENT + name] = value.clone()


def _refuse_epoch_schedules(distiller: Distiller) -> None:
    schedules = {name: link.schedules for name, link in distiller.links.items()}
    schedules['student_weight'] = distiller.student_schedules
    named = [name for name, found in schedules.items() if any(one.by_epoch for one in found)]
    if named:
        raise ValueError(
            f'{named} have schedules in epochs, but the training loop counts iterations; '
            'write them in iterations: schedule=dict(..., by_epoch=False)'
        )


def _refuse_unequal_batches(loader: Any) -> None:
    """Ranks exchange embeddings, which only works for batches of one size."""
    if get_world_size() > 1 and getattr(loader.sampler, 'round_up', True) is False:
        raise ValueError(
            'a memory bank over several processes needs batches of equal size on all of them; '
            "set round_up=True in the train_dataloader's sampler"
        )


def _refuse_averaging(runner: Any) -> None:
    if any(isinstance(hook, EMAHook) for hook in runner.hooks):
        raise ValueError(
            'memory banks that are spread over the ranks (shard=True) cannot be averaged by '
            'EMAHook: each rank has other rows; set shard=False, or remove EMAHook'
        )


def _refuse_other_memory(distiller: Distiller, state: dict) -> None:
    """MMEngine only warns of tensors that do not fit, and a fresh bank would go unnoticed."""
    for path, memory in distiller.memories.items():
        for name, bank in memory.banks.items():
            stored = state.get(f'{path}.{name}')
            if stored is not None and stored.shape != bank.shape:
                raise ValueError(
                    f'the checkpoint has {tuple(stored.shape)} as {path}.{name}, this run '
                    f'{tuple(bank.shape)}: continue with the data set and the memory that the run '
                    'began with'
                )
