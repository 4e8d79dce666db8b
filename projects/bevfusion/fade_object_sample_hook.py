"""Hook that ends the pasting of objects for the last epochs of a training run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmdet3d.datasets.transforms import ObjectSample
from mmdet3d.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class FadeObjectSampleHook(Hook):
    """Pastes no objects from an epoch on, so that training ends on scenes as they are.

    MMDetection3D's ``DisableObjectSampleHook`` acts when one epoch begins: a run that is resumed
    later pastes objects again. This hook sets the state that each epoch should have, reaches
    ``ObjectSample`` through any wrappers of the data set, and lets workers that live on from
    epoch to epoch start anew when the state changes, as they hold copies of the data set.
    Fading was introduced as a "fade strategy" by PointAugmenting (Wang et al., CVPR 2021).

    Config lines::

        custom_hooks = [dict(type='FadeObjectSampleHook', after_epoch=15)]

    Args:
        after_epoch: Number of epochs that paste objects, counted from the start of training.

    Raises:
        ValueError: ``after_epoch`` is negative.
    """

    def __init__(self, after_epoch: int) -> None:
        if after_epoch < 0:
            raise ValueError(f'after_epoch is {after_epoch}; it counts epochs, from 0 on')
        self.after_epoch = after_epoch

    def before_train_epoch(self, runner: Runner) -> None:
        """Switch every ``ObjectSample`` of the training data as this epoch wants it."""
        loader = runner.train_dataloader
        disabled = runner.epoch >= self.after_epoch
        changed = [t for t in _object_samples(loader.dataset) if t.disabled != disabled]
        for transform in changed:
            transform.disabled = disabled
        if not changed:
            return
        runner.logger.info(
            f'{"No objects are" if disabled else "Objects are"} pasted from epoch '
            f'{runner.epoch + 1} on'
        )
        if loader.persistent_workers:
            loader._iterator = None  # the loader then makes a new one, with new workers


def _object_samples(dataset: Any) -> Iterator[ObjectSample]:
    """The ``ObjectSample`` transforms of a data set, under wrappers too."""
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    for item in inner:
        if item is not None:
            yield from _object_samples(item)
    for transform in getattr(getattr(dataset, 'pipeline', None), 'transforms', ()):
        if isinstance(transform, ObjectSample):
            yield transform
