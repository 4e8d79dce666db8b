"""Lets a run of a plain model load only checkpoints that fit it."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import find_latest_checkpoint
from torch import nn

from mmdistill.checkpoints import Fit, compare, for_plain_model, student_part, weights_of
from mmdistill.distiller import Distiller


@HOOKS.register_module()
class FitCheckpointHook(Hook):
    """Takes a plain model's weights out of a distillation run's checkpoint, and refuses others.

    MMEngine only warns of weights that do not fit, and goes on with random ones. With this hook a
    distillation run's training checkpoint is loaded into the plain student's model; testing and
    resuming need all of the model's weights, and ``load_from`` some. A model that is a
    :class:`~mmdistill.Distiller` sees to this itself, by ``DistillHook``.

    Config lines, for a run of a plain model; ``configs/_base_/default_runtime.py`` has them::

        custom_imports = dict(imports=['mmdistill'], allow_failed_imports=False)
        default_hooks = dict(fit_checkpoint=dict(type='FitCheckpointHook'))

    Raises:
        ValueError: A checkpoint does not fit; the message names the run that wrote it.
    """

    # Before EMAHook (NORMAL), which reads the same weights.
    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        model = bare_model(runner)
        if isinstance(model, Distiller):
            return
        own, weights = model.state_dict(), weights_of(checkpoint)
        if runner._resume:
            refuse_mere_weights(runner, checkpoint)
            if compare(student_part(weights), own).matched:
                raise ValueError(
                    f'{name_file(runner)} is the training checkpoint of the distillation run '
                    f'{name_run(checkpoint)}: resume it with the config of that run, or start a '
                    'new run from its student with load_from=CHECKPOINT and resume=False'
                )
        checkpoint['state_dict'] = for_plain_model(weights, own)
        require_fit(compare(checkpoint['state_dict'], own), model, runner, checkpoint)


def bare_model(runner: Any) -> nn.Module:
    """Return the runner's model without what wraps it: DDP, test-time augmentation."""
    model = runner.model
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def is_training(runner: Any) -> bool:
    """Whether the runner trains; one that only tests or validates has built no training loop."""
    return not (runner._train_loop is None or isinstance(runner._train_loop, dict))


def refuse_mere_weights(runner: Any, checkpoint: dict) -> None:
    """Only a training checkpoint can be resumed.

    Raises:
        ValueError: The checkpoint has no record of a run.
    """
    if 'message_hub' in checkpoint:
        return
    raise ValueError(
        f'{name_file(runner)} holds weights alone and cannot be resumed: resume the training '
        'checkpoint (epoch_N.pth, beside an epoch_N_student.pth), or start a new run from these '
        'weights with load_from=CHECKPOINT and resume=False'
    )


def require_fit(fit: Fit, model: nn.Module, runner: Any, checkpoint: dict) -> None:
    """Require all weights for testing and resuming, and some for a new run.

    Raises:
        ValueError: They do not fit.
    """
    if fit.is_complete:
        return
    message = (
        f'{name_file(runner)} does not fit this {type(model).__name__}: {fit}.\nIt was written by '
        f'the run {name_run(checkpoint)}'
    )
    if runner._resume or not is_training(runner) or not fit.matched:
        raise ValueError(f'{message}: give the config of that run, or a file of this config')
    print_log(
        f'{message}; the rest keeps its initialisation',
        logger='current',
        level=logging.WARNING,
    )


def name_file(runner: Any) -> str:
    """Name the file that the runner loads, for messages."""
    loaded = runner._load_from
    if loaded is None and runner._resume:
        loaded = find_latest_checkpoint(runner.work_dir)
    return str(loaded or 'the checkpoint')


def name_run(checkpoint: dict) -> str:
    """Name the run that wrote a checkpoint, for messages: MMEngine's starts with its config's."""
    return repr(checkpoint.get('meta', {}).get('experiment_name', 'not named in it'))
