"""Writes the plain student beside every training checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmdistill.hooks.distill_hook import find_distiller

_STUDENT = 'student.'


@HOOKS.register_module()
class StudentCheckpointHook(Hook):
    """Writes ``epoch_N_student.pth`` beside each ``epoch_N.pth``, and so for the best.

    The file holds the student in the plain detector's own keys, so that its plain config tests
    it. The weights are those that MMEngine saves: the averaged ones when ``EMAHook`` is on. It is
    written under another name and then renamed, so a full disk leaves no half file; the students
    of checkpoints that ``CheckpointHook`` has removed are removed, too.

    Config lines::

        custom_hooks = [dict(type='DistillHook'), dict(type='StudentCheckpointHook')]
    """

    # Behind CheckpointHook (VERY_LOW) and behind EMAHook, whose weights it takes over.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._pending: dict[str, Any] | None = None
        self._written: dict[str, Path] = {}

    def before_run(self, runner: Any) -> None:
        find_distiller(runner, type(self).__name__)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        state = checkpoint['state_dict']
        student = {k.removeprefix(_STUDENT): v for k, v in state.items() if k.startswith(_STUDENT)}
        self._pending = dict(meta=checkpoint['meta'], state_dict=student)

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        self._write(runner)

    def after_train_epoch(self, runner: Any) -> None:
        self._write(runner)

    def after_val_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        self._write(runner)

    def _write(self, runner: Any) -> None:
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        if not is_main_process():
            return
        # CheckpointHook publishes the names of what it saves in the message hub.
        for key, value in runner.message_hub.runtime_info.items():
            is_best = key.startswith('best_ckpt')
            if key != 'last_ckpt' and not is_best:
                continue
            target = student_path(value)
            if is_best and self._written.get(key) == target:
                continue
            save_atomically(pending, target)
            previous = self._written.get(key)
            self._written[key] = target
            if previous is not None and not training_path(previous).exists():
                previous.unlink(missing_ok=True)


def student_path(checkpoint: str | Path) -> Path:
    """Return where the student of a training checkpoint lies."""
    path = Path(checkpoint)
    return path.with_name(f'{path.stem}_student{path.suffix}')


def training_path(student: Path) -> Path:
    """Return the training checkpoint of a student's file."""
    return student.with_name(student.stem.removesuffix('_student') + student.suffix)


def save_atomically(content: dict, path: Path) -> None:
    """Save so that ``path`` either holds all of ``content`` or is as it was before."""
    partial = path.with_name(path.name + '.partial')
    try:
        torch.save(content, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
