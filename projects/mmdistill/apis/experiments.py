"""Experiments: configs over seeds and options, each trained once, teachers before students."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.registry import DATASETS, init_default_scope

from mmdistill.apis.checks import check_config
from mmdistill.apis.config import log_to_tensorboard, resume_latest
from mmdistill.apis.origin import write_origin
from mmdistill.apis.plan import time_config
from mmdistill.apis.preflight.findings import Skip
from mmdistill.apis.progress import length
from mmdistill.apis.run import build_runner
from mmdistill.utils.run_checkpoint import resolve_checkpoint

RESULTS = 'results.json'
_CONFIG = 'experiment.json'


@dataclass(frozen=True)
class Experiment:
    """One training run.

    Args:
        config: Path of its config, which has ``FinalTestHook`` and ``MetricsFileHook``.
        folder: Its work dir.
        seed: Of its random numbers.
        options: Config entries that are laid over the config's, by dotted key.
        teacher: The run whose best checkpoint is the teacher; ``None`` leaves the config's own.
    """

    config: str
    folder: Path
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)
    teacher: Experiment | None = None

    @property
    def is_finished(self) -> bool:
        """Whether it has run to its end."""
        return (self.folder / RESULTS).is_file()

    def read_config(self) -> Config:
        """Return the config with all that is laid over it.

        Raises:
            FileNotFoundError: The teacher has no best checkpoint yet.
        """
        cfg = Config.fromfile(self.config)
        cfg.merge_from_dict(dict(self.options))
        cfg.merge_from_dict({'randomness.seed': self.seed, 'work_dir': str(self.folder)})
        if self.teacher is not None:
            cfg.model.teacher.checkpoint = resolve_checkpoint(self.teacher.folder / 'best')
        return cfg

    def train(self) -> None:
        """Train and test, or go on after a stop; what is finished is left alone.

        Raises:
            ValueError: The folder holds a run of another config.
            RuntimeError: The run left no results, because its config lacks the hooks.
        """
        cfg = self.read_config()
        content = json.dumps(cfg.to_dict(), indent=1, default=str)
        known = self.folder / _CONFIG
        if known.is_file() and known.read_text() != content:
            raise ValueError(
                f'{self.folder} holds a run of another config than {self.config} is now: '
                'remove it, or choose another work dir'
            )
        if self.is_finished:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        known.write_text(content)
        resume_latest(cfg)
        cfg.experiment_name = '_'.join(self.folder.parts[-3:])
        write_origin(self.folder)
        log_to_tensorboard(cfg)
        build_runner(cfg).train()
        if not self.is_finished:
            raise RuntimeError(
                f'{self.config} left no {RESULTS}: its custom_hooks need '
                "dict(type='FinalTestHook'), dict(type='MetricsFileHook')"
            )


def plan(
    configs: Sequence[str],
    seeds: Sequence[int],
    work_dir: Path,
    options: Mapping[str, Any] | None = None,
    vary: Mapping[str, Sequence[Any]] | None = None,
) -> list[Experiment]:
    """Return the runs, teachers before their students and seed after seed.

    The work dir is laid out as ``CONFIG/VARIED.../seed_N``. A distiller's teacher is trained by the
    same seed, unless ``options`` give ``model.teacher.checkpoint``.

    Args:
        configs: Paths of configs of plain models and of distillers.
        seeds: What each is trained with.
        work_dir: Where everything is written.
        options: Config entries that are laid over every config, by dotted key.
        vary: Config entries of the plain model, such as ``'model.fusion.type'``, with the values
            that are tried; of a distiller, it is the student's. Several give all combinations.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: A config has several teachers, or there is none.
    """
    if not configs:
        raise ValueError('no config is given')
    options, vary = dict(options or {}), dict(vary or {})
    combinations = [dict(zip(vary, values, strict=True)) for values in _product(vary)]
    models = {config: _read_model(config) for config in configs}
    found: dict[Path, Experiment] = {}
    for seed, config, varied in itertools.product(seeds, configs, combinations):
        model, teacher = models[config], None
        if 'teacher' in model and 'model.teacher.checkpoint' not in options:
            path = model['teacher']['config']
            teacher = Experiment(path, work_dir / Path(path).stem / f'seed_{seed}', seed, options)
            found.setdefault(teacher.folder, teacher)
        parts = [f'{key.removeprefix("model.")}={value}' for key, value in varied.items()]
        folder = work_dir.joinpath(Path(config).stem, *parts, f'seed_{seed}')
        varied = {_of_student(key, model): value for key, value in varied.items()}
        found.setdefault(folder, Experiment(config, folder, seed, {**options, **varied}, teacher))
    return list(found.values())


def run(
    experiments: Sequence[Experiment],
    report: Callable[[str], None],
    seconds: Mapping[Path, float] | None = None,
    verbose: bool = True,
) -> None:
    """Train what is not finished, one after the other in this process.

    Args:
        experiments: As :func:`plan` returns them.
        report: Is told what begins, what is there already and what is left.
        seconds: What each is expected to take, by its folder.
        verbose: Show the lines of the runs themselves; else they are in ``console.log`` of each.
    """
    left, taken, planned = dict(seconds or {}), 0.0, 0.0
    for number, experiment in enumerate(experiments, start=1):
        begins = f'[{number}/{len(experiments)}] {experiment.folder}'
        expected = left.pop(experiment.folder, 0.0)
        if experiment.is_finished:
            report(f'{begins}: already done')
            experiment.train()
            continue
        report(f'{begins}: {experiment.config}')
        began = time.monotonic()
        with contextlib.nullcontext() if verbose else output_in(experiment.folder / 'console.log'):
            experiment.train()
        taken, planned = taken + time.monotonic() - began, planned + expected
        rest = sum(left.values()) * taken / planned if planned else 0.0
        tail = f', about {length(rest)} left' if rest else ''
        report(f'{begins}: done in {length(time.monotonic() - began)}{tail}')


def expect(experiments: Sequence[Experiment]) -> dict[Path, float]:
    """Time a few steps of each run that is not finished, on made-up batches.

    Returns:
        The seconds that each is expected to take without loading its data, by its folder; those
        are left out of whose samples nothing is known.
    """
    seconds = {}
    for experiment in experiments:
        if experiment.is_finished:
            continue
        cfg = Config.fromfile(experiment.config)
        cfg.merge_from_dict(dict(experiment.options))
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        loaders = (cfg.train_dataloader, cfg.val_dataloader)
        samples = [len(DATASETS.build(copy.deepcopy(loader.dataset))) for loader in loaders]
        with contextlib.suppress(Skip):
            seconds[experiment.folder] = time_config(cfg).training_s(cfg, *samples)
    return seconds


@contextlib.contextmanager
def output_in(path: Path) -> Iterator[None]:
    """Let what is printed in this block go to the end of a file.

    The file stays open: loggers that are made in the block go on writing there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open('a', buffering=1)
    with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        yield


def read_vary(words: Sequence[Sequence[str]]) -> dict[str, list[Any]]:
    """Read what a command line says of options to vary: for each, a key and its values.

    Raises:
        ValueError: A key has no values.
    """
    vary = {}
    for key, *values in words:
        if not values:
            raise ValueError(f'--vary {key} has no values: give one or more behind it')
        vary[key] = [DictAction._parse_iterable(value) for value in values]
    return vary


def _read_model(config: str) -> Mapping[str, Any]:
    """The entry ``model`` of a config whose packages are not imported."""
    check_config(config)
    model = Config.fromfile(config, import_custom_modules=False).get('model', {})
    if 'teachers' in model:
        raise ValueError(f'{config} has several teachers: train them first, by tools/train.py')
    return model


def _product(vary: Mapping[str, Sequence[Any]]) -> list[tuple]:
    return list(itertools.product(*vary.values()))


def _of_student(key: str, model: Mapping[str, Any]) -> str:
    return key.replace('model.', 'model.student.', 1) if 'student' in model else key
