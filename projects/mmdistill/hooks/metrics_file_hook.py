"""Writes a run's metrics as files that a table or a spreadsheet reads."""

from __future__ import annotations

import csv
import hashlib
import json
from numbers import Number
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop

from mmdistill.distiller import Distiller
from mmdistill.hooks.final_test_hook import FinalTestHook
from mmdistill.utils.checkpoint import load_weights
from mmdistill.utils.files import written_whole


@HOOKS.register_module()
class MetricsFileHook(Hook):
    """Writes ``metrics.csv``, ``metrics.json`` and ``results.json`` into the work dir.

    ``metrics.csv`` and ``metrics.json`` hold one row an epoch (of iteration-based loops one a
    validation): ``epoch`` and ``iter`` as counts of what is done, the learning rate, the mean of
    every training loss since the row before as ``train/<name>``, and the validation's metrics as
    ``val/<name>``. A resumed run goes on in the same files.

    ``results.json`` is written when training ends:

    ==============  ================================================================
    key             value
    ==============  ================================================================
    ``config``      the whole config
    ``history``     the rows
    ``best``        file and row of the best checkpoint; ``None`` without one
    ``test``        what :class:`FinalTestHook` measured; ``None`` without it
    ``parameters``  ``total`` and ``trained``; of a distiller the student's
    ``hashes``      SHA-256 of the config and of the files of ``FinalTestHook``, and
                    the fingerprint of each teacher
    ``software``    versions, seed
    ==============  ================================================================

    Config lines::

        custom_hooks = [..., dict(type='FinalTestHook'), dict(type='MetricsFileHook')]
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def before_train(self, runner: Any) -> None:
        """Take up the rows of the run that is resumed."""
        path = Path(runner.work_dir) / 'metrics.json'
        self.rows = []
        if runner.iter and path.is_file():
            rows = json.loads(path.read_text())
            self.rows = [row for row in rows if row['iter'] <= runner.iter]

    def after_train_epoch(self, runner: Any) -> None:
        # To an iteration-based loop the whole training is one epoch.
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._add(runner, epoch=runner.epoch + 1)  # it counts up after its hooks

    def after_val_epoch(self, runner: Any, metrics: dict | None = None) -> None:
        if not runner.iter:  # validation alone
            return
        values = {f'val/{key}': value for key, value in (metrics or {}).items()}
        if self.rows and self.rows[-1]['iter'] == runner.iter:
            self.rows[-1].update(values)
            self._write(runner)
        else:
            self._add(runner, epoch=runner.epoch, **values)

    def after_train(self, runner: Any) -> None:
        if not is_main_process():
            return
        test = next((hook for hook in runner.hooks if isinstance(hook, FinalTestHook)), None)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        content = dict(
            config=runner.cfg.to_dict(),
            history=self.rows,
            best=self._best(runner),
            test=None if test is None else test.metrics,
            parameters=count_parameters(model.student if isinstance(model, Distiller) else model),
            hashes=self._hashes(runner, model, {} if test is None else test.files),
            software=dict(torch=torch.__version__, seed=runner.seed),
        )
        write_json(Path(runner.work_dir) / 'results.json', content)

    def _add(self, runner: Any, epoch: int, **values: Any) -> None:
        since = self.rows[-1]['iter'] if self.rows else 0
        scalars = runner.message_hub.log_scalars
        row = dict(epoch=epoch, iter=runner.iter)
        window = max(row['iter'] - since, 1)
        for key, buffer in scalars.items():
            name = key.removeprefix('train/')
            if not key.startswith('train/') or name in ('time', 'data_time', 'eta'):
                continue
            row[key] = buffer.current() if name == 'lr' else buffer.mean(window)
        self.rows.append({**row, **values})
        self._write(runner)

    def _best(self, runner: Any) -> dict[str, Any] | None:
        path = runner.message_hub.runtime_info.get('best_ckpt')
        if path is None:  # none is kept, or by several metrics
            return None
        meta = load_weights(path)['meta']
        row = next((row for row in self.rows if row['iter'] == meta['iter']), {})
        return {'file': Path(path).name, 'epoch': meta['epoch'], 'iter': meta['iter'], **row}

    def _hashes(self, runner: Any, model: Any, files: dict[str, Path]) -> dict[str, str]:
        hashes = {'config': hashlib.sha256(runner.cfg.pretty_text.encode()).hexdigest()}
        for path in files.values():
            hashes[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        if isinstance(model, Distiller):
            hashes |= {name: item.fingerprint() for name, item in model.teachers.items()}
        return hashes

    def _write(self, runner: Any) -> None:
        if not is_main_process():
            return
        folder = Path(runner.work_dir)
        write_json(folder / 'metrics.json', self.rows)
        columns = dict.fromkeys(key for row in self.rows for key in row)
        names = [key for key in columns if isinstance(_last_value(self.rows, key), Number)]
        with (
            written_whole(folder / 'metrics.csv') as partial,
            partial.open('w', newline='') as file,
        ):
            writer = csv.DictWriter(file, names, extrasaction='ignore')
            writer.writeheader()
            writer.writerows(self.rows)


def count_parameters(model: torch.nn.Module) -> dict[str, int]:
    """Return how many numbers a model has, and how many of them are trained."""
    parameters = list(model.parameters())
    return dict(
        total=sum(p.numel() for p in parameters),
        trained=sum(p.numel() for p in parameters if p.requires_grad),
    )


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that the file holds all of it or is as it was; numpy's numbers are numbers."""
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=1, default=_plain) + '\n')


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, 'item') else str(value)


def _last_value(rows: list[dict[str, Any]], key: str) -> Any:
    return next(row[key] for row in reversed(rows) if key in row)
