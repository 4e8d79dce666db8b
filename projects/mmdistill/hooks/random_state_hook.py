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
    streams, because it does not run again after a resume. A checkpoint is written by the main
    process alone: with several processes, the others start their streams anew.

    Config lines::

        custom_hooks = [dict(type='RandomStateHook')]
    """

    # Before CheckpointHook, which saves again at the end of a validation.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._before_val: dict[str, Any] | None = None

    def before_val(self, runner: Any) -> None:
        self._before_val = random_states()

    def after_val_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        if self._before_val is not None:
            restore_random_states(self._before_val)
            self._before_val = None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        checkpoint['random_states'] = random_states()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        if runner._resume and 'random_states' in checkpoint and is_main_process():
            restore_random_states(checkpoint['random_states'])


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
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states['torch'])
    if states['cuda'] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states['cuda'])
