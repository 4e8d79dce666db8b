"""Records layers of any model while it trains or is tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch import Tensor, nn

from mmdistill.reading.recorder import FeatureRecorder, Recording, Spec, tensors_in
from mmdistill.utils.files import written_whole

STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    'mean': lambda value: value.mean(),
    'std': lambda value: value.std(unbiased=False),
    'max': lambda value: value.abs().amax(),
    'zeros': lambda value: (value == 0).float().mean(),
}


@HOOKS.register_module()
class RecordHook(Hook):
    """Writes statistics of layers to the log and the visualiser, and tensors to files on request.

    Needs no distiller: it records whatever model the runner has, in every ``interval``-th iteration
    of training, validation and testing. Scalars are named ``layers/<name>/<statistic>``; of a layer
    that returns several tensors, ``layers/<name>.<number>/<statistic>``. Between the recorded
    iterations the model carries nothing.

    Config lines::

        custom_hooks = [
            dict(type='RecordHook', layers=dict(neck='pts_neck[0]', heat='bbox_head.heatmap_head'),
                 interval=50, save_to='work_dirs/features')]

    Args:
        layers: Addresses or configs of recorders by a name for the log.
        statistics: Which of ``'mean'``, ``'std'``, ``'max'`` (of absolute values) and ``'zeros'``
            (their share).
        interval: Iterations from one recording to the next.
        save_to: Folder for files ``<mode>_<iteration>.pt``, each a dict of tensors by the layer's
            name, on the CPU; none without it.

    Raises:
        KeyError: The model has no such layer, or it did not run.
        ValueError: A statistic is unknown.
    """

    # Before hooks that read what an iteration returned.
    priority = 'ABOVE_NORMAL'

    def __init__(
        self,
        layers: Mapping[str, Spec],
        statistics: Sequence[str] = ('mean', 'std', 'max'),
        interval: int = 50,
        save_to: str | None = None,
    ) -> None:
        unknown = sorted(set(statistics) - set(STATISTICS))
        if unknown or interval < 1:
            raise ValueError(
                f'statistics are {sorted(STATISTICS)}, and interval is 1 or more; got '
                f'{list(statistics)} and {interval}'
            )
        self.layers, self.statistics, self.interval = dict(layers), tuple(statistics), interval
        self.save_to = None if save_to is None else Path(save_to)
        self._open: tuple[ExitStack, Recording] | None = None

    def before_run(self, runner: Any) -> None:
        self._recorder(runner)  # a wrong layer is said before the data is loaded

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self._begin(runner, batch_idx)

    def after_train_iter(self, runner: Any, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        for name, value in self._end(runner, f'train_{runner.iter}').items():
            runner.message_hub.update_scalar(f'train/{name}', value)

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self._begin(runner, batch_idx)

    def after_val_iter(self, runner: Any, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        self._report(runner, self._end(runner, f'val_{runner.iter}_{batch_idx}'), 'val', batch_idx)

    def before_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        self._begin(runner, batch_idx)

    def after_test_iter(self, runner: Any, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        self._report(runner, self._end(runner, f'test_{batch_idx}'), 'test', batch_idx)

    def _recorder(self, runner: Any) -> FeatureRecorder:
        model: nn.Module = runner.model.module if is_model_wrapper(runner.model) else runner.model
        return FeatureRecorder(model, self.layers.values(), role=type(model).__name__)

    def _begin(self, runner: Any, batch_idx: int) -> None:
        if self.every_n_inner_iters(batch_idx, self.interval):
            stack = ExitStack()
            recording = stack.enter_context(self._recorder(runner).record())
            stack.enter_context(recording.listen())
            self._open = stack, recording

    def _end(self, runner: Any, iteration: str) -> dict[str, float]:
        """Return the statistics by their logged names; nothing where nothing was recorded."""
        if self._open is None:
            return {}
        (stack, recording), self._open = self._open, None
        with stack, torch.no_grad():
            tensors = {
                name: [value.detach() for value in tensors_in(recording[layer])]
                for name, layer in self.layers.items()
            }
            if self.save_to is not None and is_main_process():
                self.save_to.mkdir(parents=True, exist_ok=True)
                content = {name: [v.cpu() for v in values] for name, values in tensors.items()}
                with written_whole(self.save_to / f'{iteration}.pt') as partial:
                    torch.save(content, partial)
            return self._measure(tensors)

    def _measure(self, tensors: Mapping[str, Sequence[Tensor]]) -> dict[str, float]:
        found = {}
        for name, values in tensors.items():
            for number, value in enumerate(values):
                label = name if len(values) == 1 else f'{name}.{number}'
                for statistic in self.statistics:
                    result = STATISTICS[statistic](value.float())
                    found[f'layers/{label}/{statistic}'] = float(result)
        return found

    def _report(self, runner: Any, values: dict[str, float], mode: str, batch_idx: int) -> None:
        if not values:
            return
        runner.visualizer.add_scalars(
            {f'{mode}/{name}': value for name, value in values.items()}, step=batch_idx
        )
        text = '  '.join(f'{name}: {value:.4g}' for name, value in values.items())
        print_log(f'{mode} iteration {batch_idx}: {text}', logger='current')
