"""Tests the best checkpoint of a run when its training ends."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from mmdistill.checkpoints import student_part
from mmdistill.distiller import Distiller
from mmdistill.hooks.student_checkpoint_hook import student_path
from mmdistill.utils.checkpoint import load_weights
from mmdistill.utils.files import written_whole


@HOOKS.register_module()
class FinalTestHook(Hook):
    """Tests the best model on ``test_dataloader`` after training, and writes it under fixed names.

    The best is that of ``CheckpointHook(save_best=...)``, chosen on validation data; the test data
    are seen once, here. Beside the checkpoints lie ``student_best.pth`` and ``student_final.pth``
    (of a plain model ``model_best.pth`` and ``model_final.pth``): weights of the plain model, the
    averaged ones where ``EMAHook`` is on. The model that was trained is left as it is.

    Config lines::

        default_hooks = dict(
            checkpoint=dict(type='CheckpointHook', save_best='top1', rule='greater'))
        custom_hooks = [..., dict(type='FinalTestHook'), dict(type='MetricsFileHook')]

    Attributes:
        metrics: What the test returned; ``None`` before.
    """

    # Behind the hooks that write checkpoints after the last epoch, before MetricsFileHook.
    priority = 'LOW'

    def __init__(self) -> None:
        self.metrics: dict[str, Any] | None = None
        self.files: dict[str, Path] = {}

    def before_train(self, runner: Any) -> None:
        """Look for what the end needs now, not after hours.

        Raises:
            ValueError: The config has no test data, or nobody saves one best checkpoint.
        """
        missing = [k for k in ('test_dataloader', 'test_evaluator') if runner.cfg.get(k) is None]
        if missing:
            raise ValueError(
                f'FinalTestHook tests the best checkpoint: the config has no {missing}'
            )
        if not saves_one_best(runner):
            raise ValueError(
                'FinalTestHook tests the best checkpoint, and nobody saves one: add '
                "default_hooks.checkpoint=dict(type='CheckpointHook', save_best='METRIC', "
                "rule='greater'), with one metric"
            )

    def after_train(self, runner: Any) -> None:
        best = runner.message_hub.runtime_info.get('best_ckpt')
        if best is None:
            raise FileNotFoundError(
                'FinalTestHook: the run has no best checkpoint, because it was never validated; '
                'set train_cfg.val_interval to at most the number of epochs'
            )
        self._write_files(runner, best)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        trained = copy.deepcopy(model.state_dict())
        model.load_state_dict(load_weights(best)['state_dict'])
        try:
            self.metrics = evaluate(runner)
        finally:
            model.load_state_dict(trained)
        shown = {key: value for key, value in self.metrics.items() if isinstance(value, float)}
        text = '  '.join(f'{key}: {value:.4f}' for key, value in shown.items())
        print_log(f'test of {Path(best).name}: {text}', logger='current')

    def _write_files(self, runner: Any, best: str) -> None:
        """Write the best and the last checkpoint's plain model under fixed names."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        kind = 'student' if isinstance(model, Distiller) else 'model'
        last = runner.message_hub.runtime_info.get('last_ckpt')
        for name, source in (('best', best), ('final', last)):
            if source is None or not Path(source).is_file():
                continue
            self.files[name] = Path(runner.work_dir) / f'{kind}_{name}.pth'
            if is_main_process():
                with written_whole(Path(self.files[name])) as partial:
                    torch.save(plain_weights(source), partial)
        barrier()


@torch.no_grad()
def evaluate(runner: Any) -> dict[str, Any]:
    """Return the metrics of the runner's model on its test data, without any hook.

    Hooks are left out because some of them (averaged weights) would test another model.
    """
    # Built from the config: the runner's own test loop, where it has one, stays as it is.
    loader = runner.build_dataloader(copy.deepcopy(runner.cfg.test_dataloader))
    evaluator = runner.build_evaluator(copy.deepcopy(runner.cfg.test_evaluator))
    evaluator.dataset_meta = getattr(loader.dataset, 'metainfo', None)
    was_training = runner.model.training
    runner.model.eval()
    for batch in loader:
        outputs = runner.model.test_step(batch)
        evaluator.process(data_samples=outputs, data_batch=batch)
    runner.model.train(was_training)
    return evaluator.evaluate(len(loader.dataset))


def saves_one_best(runner: Any) -> bool:
    """Whether a ``CheckpointHook`` keeps the best checkpoint by exactly one metric."""
    metrics = [hook.save_best for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    return len(metrics) == 1 and len(metrics[0] or ()) == 1


def plain_weights(checkpoint: str | Path) -> dict[str, Any]:
    """Return the plain model of a checkpoint: the student of a distiller's, else the model."""
    beside = student_path(checkpoint)
    content = load_weights(str(beside if beside.is_file() else checkpoint))
    state = content['state_dict']
    return dict(meta=content.get('meta', {}), state_dict=student_part(state) or state)
