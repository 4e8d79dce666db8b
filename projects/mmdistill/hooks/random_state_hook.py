"""Keeps the random streams in checkpoints, so that a resumed run continues bit for bit."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Stores the states of Python's, numpy's and torch's generators with each checkpoint.

    MMEngine seeds a run once and does not store the states, so dropout, augmentation and drawn
    negatives of a resumed run differ from an uninterrupted one. Validation is kept from moving the
    streams, because it does not run again after a resume.

    With a fixed ``randomness.seed``, an epoch-based loop, one process and ``num_workers=0`` a
    resumed run continues bit for bit. Not restored are the streams of data loading workers and of
    processes other than the main one, which alone writes checkpoints; an iteration-based loop
    draws while it skips the data that it has seen.

    Config lines::

        custom_hooks = [dict(type='RandomStateHook')]
    """

    # Before CheckpointHook, which saves again at the end of a validation.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._before_val: dict[str, Any] | None = None
        self._resumed: dict[str, Any] | None = None

    def before_val(self, runner: Any) -> None:
        self._before_val = random_states()

    def after_val_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        if self._before_val is not None:
            restore_random_states(self._before_val)
            self._before_val = None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        checkpoint['random_states'] = random_states()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        if runner._resume and is_main_process():
            self._resumed = checkpoint.get('random_states')

    def before_train(self, runner: Any) -> None:
        # Not earlier: resuming seeds the run once more after the checkpoint is loaded.
        if self._resumed is not None:
            restore_random_states(self._resumed)
            self._resumed = None


def random_states() -> dict[str, Any]:
    """Return the states of all generators, in types that torch's safe loader reads."""
    name, keys, *rest = np.random.get_state()
    return {
        'python': random.getstate(),
        'numpy': (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Undo what was drawn since :func:`random_states`."""
    version, words, gauss = states['python']
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = states['numpy']
    # A resumed checkpoint is loaded to the model's device, and states belong on the CPU.
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states['torch'].cpu())
    for device, state in zip(range(torch.cuda.device_count()), states['cuda'], strict=False):
        torch.cuda.set_rng_state(state.cpu(), device)
