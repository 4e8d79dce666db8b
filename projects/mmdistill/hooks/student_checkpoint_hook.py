"""Writes the plain student beside every training checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
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
        self._seen: dict[Path, int] = {}

    def before_run(self, runner: Any) -> None:
        find_distiller(runner, type(self).__name__)
        for hook in runner.hooks:
            folder = getattr(hook, 'out_dir', None)
            if isinstance(hook, CheckpointHook) and '://' in str(folder):
                raise ValueError(
                    f'StudentCheckpointHook writes local files, but CheckpointHook saves to '
                    f'{folder}; remove StudentCheckpointHook, or save to a local out_dir'
                )

    def before_train(self, runner: Any) -> None:
        # After a resume: files of the run so far are not written again, but kept track of.
        self._seen = {path: written_at(path) for path in saved_paths(runner)}
        for path in [path for known in list(self._seen) for path in known.parent.glob('*.pth')]:
            if student_path(path).exists():
                self._seen.setdefault(path, written_at(path))

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
        """Write the student beside every training checkpoint that was just saved."""
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        if not is_main_process():
            return
        for path in saved_paths(runner):
            if written_at(path) != self._seen.get(path):
                save_atomically(pending, student_path(path))
                self._seen[path] = written_at(path)
        for path in [path for path in self._seen if not path.exists()]:
            student_path(path).unlink(missing_ok=True)
            del self._seen[path]


def saved_paths(runner: Any) -> list[Path]:
    """Return the checkpoints that exist of those CheckpointHook names in the message hub."""
    names = runner.message_hub.runtime_info
    keys = [key for key in names if key == 'last_ckpt' or key.startswith('best_ckpt')]
    paths = dict.fromkeys(Path(names[key]) for key in keys if names[key])
    return [path for path in paths if path.exists()]


def written_at(path: Path) -> int:
    return path.stat().st_mtime_ns


def student_path(checkpoint: str | Path) -> Path:
    """Return where the student of a training checkpoint lies."""
    path = Path(checkpoint)
    return path.with_name(f'{path.stem}_student{path.suffix}')


def save_atomically(content: dict, path: Path) -> None:
    """Save so that ``path`` either holds all of ``content`` or is as it was before."""
    partial = path.with_name(path.name + '.partial')
    try:
        torch.save(content, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
