"""Tells a distiller what only the runner knows, and keeps its teacher's identity."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

from mmdistill.contracts import SampleMemory
from mmdistill.distiller import Distiller
from mmdistill.utils.dataset import number_samples

# Iterations between looks at the counters of skipped samples within an epoch: each waits for the
# device.
_REPORT_INTERVAL = 50


@HOOKS.register_module()
class DistillHook(Hook):
    """Connects a :class:`~mmdistill.Distiller` with the runner.

    Before training it sizes memory banks by the length of the data set, below its wrappers, and
    numbers the samples of concatenated data sets through; before each iteration it
    reports epoch and iteration to the links' schedules; with each checkpoint it stores the
    teachers' fingerprints, and refuses to resume with another teacher or data set. It warns of
    samples that losses with a memory had to skip, and brings the rows of banks that are spread over
    ranks together for checkpoints.

    Config lines::

        custom_hooks = [dict(type='DistillHook')]

    Args:
        allow_other_teacher: Resume although a teacher is not the one the run began with.
    """

    # Before EMAHook (NORMAL), whose copy must already have the banks.
    priority = 'VERY_HIGH'

    def __init__(self, allow_other_teacher: bool = False) -> None:
        self.allow_other_teacher = allow_other_teacher
        self._skipped: dict[str, int] = {}

    def before_run(self, runner: Any) -> None:
        distiller = find_distiller(runner, type(self).__name__)
        # A runner that only tests or validates has no training data, and needs no banks.
        loop = runner._train_loop
        if loop is None or isinstance(loop, dict):
            return
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

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        stored = checkpoint.get('meta', {}).get('teachers')
        # Only resuming continues a run; testing and fine-tuning may load any checkpoint.
        if stored is None or not runner._resume:
            return
        distiller = find_distiller(runner, type(self).__name__)
        _refuse_other_memory(distiller, checkpoint['state_dict'])
        now = {name: teacher.fingerprint() for name, teacher in distiller.teachers.items()}
        changed = sorted(n for n in stored.keys() | now.keys() if stored.get(n) != now.get(n))
        if not changed:
            return
        message = (
            f'this run began with other weights or another config of {changed}; give the same '
            'teacher, or allow the change with '
            "custom_hooks = [dict(type='DistillHook', allow_other_teacher=True)]"
        )
        if not self.allow_other_teacher:
            raise ValueError(message)
        print_log(message, logger='current', level=logging.WARNING)


def find_distiller(runner: Any, asked_by: str) -> Distiller:
    """Return the runner's distiller, unwrapped from DDP.

    Raises:
        TypeError: The runner trains a plain model.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if not isinstance(model, Distiller):
        raise TypeError(
            f'{asked_by} belongs to a Distiller, but the model is {type(model).__name__}; '
            'remove it from custom_hooks'
        )
    return model


def _refuse_epoch_schedules(distiller: Distiller) -> None:
    named = [
        name
        for name, link in distiller.links.items()
        if any(schedule.by_epoch for schedule in link.schedules)
    ]
    if named:
        raise ValueError(
            f'links {named} have schedules in epochs, but the training loop counts iterations; '
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
