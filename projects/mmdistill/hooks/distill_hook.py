"""Tells a distiller what only the runner knows, and keeps its teacher's identity."""

from __future__ import annotations

from typing import Any

from mmengine.dataset import ConcatDataset
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from mmdistill.distiller import Distiller


@HOOKS.register_module()
class DistillHook(Hook):
    """Connects a :class:`~mmdistill.Distiller` with the runner.

    Before training it sizes memory banks by the length of the data set; before each iteration it
    reports epoch and iteration to the links' schedules; with each checkpoint it stores the
    teachers' fingerprints, and refuses to resume with another teacher.

    Config lines::

        custom_hooks = [dict(type='DistillHook')]

    Args:
        allow_other_teacher: Resume although a teacher is not the one the run began with.
    """

    # Before EMAHook (NORMAL), whose copy must already have the banks.
    priority = 'VERY_HIGH'

    def __init__(self, allow_other_teacher: bool = False) -> None:
        self.allow_other_teacher = allow_other_teacher

    def before_run(self, runner: Any) -> None:
        distiller = find_distiller(runner, type(self).__name__)
        # A runner that only tests or validates has no training data, and needs no banks.
        loop = runner._train_loop
        if loop is not None and not isinstance(loop, dict):
            distiller.prepare(num_samples=original_length(loop.dataloader.dataset))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        find_distiller(runner, type(self).__name__).progress = (runner.epoch, runner.iter)

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
        print_log(message, logger='current')


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


def original_length(dataset: Any) -> int:
    """Return the length of the data set under its wrappers, by which ``sample_idx`` counts.

    Raises:
        ValueError: Several data sets are concatenated: their indices overlap.
    """
    while True:
        if isinstance(dataset, ConcatDataset):
            if len(dataset.datasets) > 1:
                raise ValueError(
                    f'{len(dataset.datasets)} data sets are concatenated, and each counts '
                    'sample_idx from 0: losses with a memory bank need one data set; merge their '
                    'info files'
                )
            dataset = dataset.datasets[0]
        elif hasattr(dataset, 'dataset'):
            dataset = dataset.dataset
        else:
            return len(dataset)
