"""Writes the plain student beside every training checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS

from mmdistill.checkpoints import student_part
from mmdistill.hooks.distill_hook import find_distiller
from mmdistill.utils.files import written_whole


@HOOKS.register_module()
class StudentCheckpointHook(Hook):
    """Writes ``epoch_N_student.pth`` beside each ``epoch_N.pth``, and so for the best.

    The file holds the student in the plain detector's own keys, so that its plain config tests
    it. The weights are those that MMEngine saves: the averaged ones when ``EMAHook`` is on. It is
    written under another name and then renamed, so a full disk leaves no half file; the students
    of checkpoints that ``CheckpointHook`` has removed are removed, too.

    The training checkpoint itself gets the student's weights under the plain names as well, stored
    once: so the plain config tests it, too, with nothing of mmdistill.

    Config lines::

        custom_hooks = [dict(type='DistillHook'), dict(type='StudentCheckpointHook')]
    """

    # Behind CheckpointHook (VERY_LOW) and behind EMAHook, whose weights it takes over.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._named: set[Path] = set()  # checkpoints that CheckpointHook has saved or knew of
        self._pending: dict[Path, dict[str, Any]] = {}
        self._written: set[Path] = set()  # checkpoints whose students are this run's
        self._kept_steps: list[int] = []

    def before_run(self, runner: Any) -> None:
        find_distiller(runner, type(self).__name__)
        for hook in _checkpoint_hooks(runner):
            if '://' in str(hook.out_dir):
                raise ValueError(
                    f'StudentCheckpointHook writes local files, but CheckpointHook saves to '
                    f'{hook.out_dir}; remove StudentCheckpointHook, or save to a local out_dir'
                )

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        # Before CheckpointHook forgets those that are more than it keeps now.
        if runner._resume:
            steps = checkpoint['message_hub']['runtime_info'].get('keep_ckpt_ids', [])
            self._kept_steps = list(steps)

    def before_train(self, runner: Any) -> None:
        self._named = _saved(runner)
        self._written = self._named | {
            Path(hook.out_dir, hook.filename_tmpl.format(step))
            for hook in _checkpoint_hooks(runner)
            for step in self._kept_steps
        }
        self._remove_students()

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        weights = checkpoint['state_dict']
        student = student_part(weights)
        # A checkpoint that was named before is saved again with the same weights.
        named = _saved(runner)
        for path in named - self._named:
            self._pending[path] = dict(meta=checkpoint['meta'], state_dict=student)
        self._named |= named
        weights.update(student)
        weights._metadata.update(student._metadata)

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        self._write_students()

    def after_train_epoch(self, runner: Any) -> None:
        self._write_students()

    def after_val_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        self._write_students()

    def _write_students(self) -> None:
        if not self._pending:
            return
        for path, content in self._pending.items():
            with written_whole(student_path(path)) as partial:
                torch.save(content, partial)
        self._written |= self._pending.keys()
        self._pending = {}
        self._remove_students()

    def _remove_students(self) -> None:
        """Remove the students of checkpoints that are no longer there."""
        if not is_main_process():
            return
        for path in [path for path in self._written if not path.exists()]:
            student_path(path).unlink(missing_ok=True)
            self._written.remove(path)


def _checkpoint_hooks(runner: Any) -> list[CheckpointHook]:
    return [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]


def _saved(runner: Any) -> set[Path]:
    """Return the last and the best checkpoints that CheckpointHook names."""
    paths: list[str | None] = []
    for hook in _checkpoint_hooks(runner):
        paths += [hook.last_ckpt, getattr(hook, 'best_ckpt_path', None)]
        paths += getattr(hook, 'best_ckpt_path_dict', {}).values()
    return {Path(path) for path in paths if path}


def student_path(checkpoint: str | Path) -> Path:
    """Return where the student of a training checkpoint lies."""
    path = Path(checkpoint)
    return path.with_name(f'{path.stem}_student{path.suffix}')
