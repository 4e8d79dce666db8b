"""Runs as they are found in work dirs: config, log, weights, and which part they play."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdistill.apis.origin import ORIGIN
from mmdistill.report.log import Log, read_log
from mmdistill.student import read_student_config
from mmdistill.utils.run_checkpoint import resolve_checkpoint

ROLES = {
    'teacher': 'Teacher',
    'alone': 'Student, alone',
    'started': 'Student, started from the teacher',
    'distilled': 'Student, distilled',
}
"""Parts that runs play, in the order of the page, and how the page calls them."""

_DEPTH = 3  # folders of runs below the one that is named
_BEST = ('student_best.pth', 'model_best.pth')


@dataclass
class Run:
    """One run of the page.

    Args:
        name: How the page calls it.
        role: One of ``ROLES``.
        path: Its work dir, or its log file.
        cfg: Its config; None where neither the folder nor the log holds it.
        log: What was logged.
        result: Metrics that it is judged by, and ``result_of`` which those are.
        checkpoint: Weights that belong to the result; None where they are gone.
        origin: Commit, machine and the like, as ``tools/train.py`` leaves them.
    """

    name: str
    role: str
    path: Path
    cfg: Config | None
    log: Log
    result: Mapping[str, Any] = field(default_factory=dict)
    result_of: str = ''
    checkpoint: str | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int | None:
        """Of its random numbers."""
        told = (self.cfg or {}).get('randomness', {}).get('seed', self.log.facts.get('seed'))
        return None if told is None else int(told)

    @property
    def is_distiller(self) -> bool:
        """Whether its model is a student under a teacher."""
        return self.cfg is not None and 'links' in (self.cfg.get('model') or {})

    @property
    def config_name(self) -> str:
        """Name of its config file; empty where only a log is there."""
        dumped = sorted(self.path.glob('*.py'), key=lambda file: file.stat().st_mtime)
        return dumped[-1].stem if dumped else ''

    @property
    def network(self) -> str:
        """Name of the config of the plain model that was trained."""
        if self.is_distiller and isinstance(self.cfg.model.student.get('config'), str):
            return Path(self.cfg.model.student.config).stem
        return self.config_name

    @property
    def planned(self) -> int | None:
        """Epochs (or iterations) of the whole training."""
        schedule = (self.cfg or {}).get('train_cfg') or {}
        return schedule.get('max_epochs', schedule.get('max_iters'))

    @property
    def counts_epochs(self) -> bool:
        """Whether its schedule is in epochs."""
        return 'max_iters' not in ((self.cfg or {}).get('train_cfg') or {})

    @property
    def reached(self) -> int:
        """The epoch (or iteration) of the last training step that was logged."""
        if not self.log.train:
            return 0
        return int(self.log.train[-1]['epoch' if self.counts_epochs else 'step'])

    @property
    def is_finished(self) -> bool:
        """Whether its training came to its end."""
        unit = 'epoch' if self.counts_epochs else 'iter'
        last = self.path / 'last_checkpoint'
        marks = [record['step'] for record in self.log.validations]
        return self.planned is not None and (
            (last.is_file() and last.read_text().strip().endswith(f'{unit}_{self.planned}.pth'))
            or (self.path / 'results.json').is_file()
            or self.planned in marks
        )


def read_runs(words: Sequence[str]) -> list[Run]:
    """Read the runs that a command line names, in the order of ``ROLES``.

    Args:
        words: Work dirs, folders with work dirs below them, or log files; each on request with a
            name of its own, ``NAME=PATH``; one of ``ROLES`` as the name says what part it plays.

    Raises:
        FileNotFoundError: There is no such path, or no run in it.
    """
    named: list[tuple[str, Path]] = []
    for word in words:
        name, mark, path = word.rpartition('=')
        name = name if mark and not Path(word).exists() else ''
        named += [(name, found) for found in find_runs(Path(path if name else word))]
    paths = dict.fromkeys(path for _, path in named)
    runs = [read_run(path) for path in paths]
    _assign_roles(runs)
    given = {path: name for name, path in named if name}
    for run in runs:
        run.role = given.pop(run.path) if given.get(run.path) in ROLES else run.role
    _name(runs, given)
    return sorted(runs, key=lambda run: (list(ROLES).index(run.role), run.seed or 0))


def find_runs(path: Path) -> list[Path]:
    """Return the work dirs of runs in a folder: itself, or those below it.

    A folder ``test`` beside a folder ``train`` is that run's evaluation, and no run of its own.

    Raises:
        FileNotFoundError: There is no such path, or no run in it.
    """
    if not path.exists():
        raise FileNotFoundError(f'{path} does not exist (seen from {Path.cwd()})')
    if path.is_file() or _is_run(path):
        return [path]
    below = [
        folder
        for depth in range(1, _DEPTH + 1)
        for folder in sorted(path.glob('/'.join('*' * depth)))
        if folder.is_dir() and _is_run(folder)
    ]
    trained = {folder.parent for folder in below if folder.name == 'train'}
    found = [f for f in below if not (f.name == 'test' and f.parent in trained)]
    if not found:
        raise FileNotFoundError(
            f'{path} holds no run: a work dir has <time>/<time>.log or <time>/vis_data/'
        )
    return found


def read_run(path: Path) -> Run:
    """Read one run; its role is that of a plain model until others are known."""
    log = read_log(path)
    cfg = _read_config(path, log)
    run = Run('', 'alone', path, cfg, log)
    if path.is_dir():
        beside = path.parent / 'test'
        if path.name == 'train' and beside.is_dir():
            log.tests += read_log(beside).tests
        if (path / ORIGIN).is_file():
            run.origin = json.loads((path / ORIGIN).read_text())
    run.result, run.result_of = _result(run)
    run.checkpoint = _checkpoint(run)
    return run


def _is_run(folder: Path) -> bool:
    return any(folder.glob('[0-9]*_[0-9]*/*.log')) or any(folder.glob('*/vis_data/scalars.json'))


def _read_config(path: Path, log: Log) -> Config | None:
    dumped = []
    if path.is_dir():
        dumped = [*sorted(path.glob('*/vis_data/config.py')), *sorted(path.glob('*.py'))]
    if dumped:
        newest = max(dumped, key=lambda file: file.stat().st_mtime)
        return Config.fromfile(newest, import_custom_modules=False)
    return Config.fromstring(log.config, '.py') if log.config else None


def _result(run: Run) -> tuple[Mapping[str, Any], str]:
    """The metrics that count, and what they are."""
    results = run.path / 'results.json'
    if run.path.is_dir() and results.is_file():
        content = json.loads(results.read_text())
        if content.get('test'):
            return content['test'], 'test of the best checkpoint'
    if run.log.tests:
        return run.log.tests[-1], 'evaluation'
    if run.log.validations:
        last = run.log.validations[-1]
        unit = 'epoch' if run.counts_epochs else 'iteration'
        return last, f'validation after {unit} {last["step"]}'
    return {}, ''


def _checkpoint(run: Run) -> str | None:
    if not run.path.is_dir():
        return None
    for name in _BEST:
        if (run.path / name).is_file():
            return str(run.path / name)
    try:
        return resolve_checkpoint(run.path / 'last')
    except FileNotFoundError:
        tested = (run.cfg or {}).get('load_from')  # an evaluation alone
        return tested if tested and not run.log.train and Path(tested).is_file() else None


def _assign_roles(runs: Sequence[Run]) -> None:
    teachers = [
        teacher.get('config')
        for run in runs
        if run.is_distiller
        for teacher in teachers_of(run.cfg.model).values()
    ]
    names = {Path(config).stem for config in teachers if isinstance(config, str)}
    models = [_as_dict(config.get('model', config)) for config in teachers if _is_dict(config)]
    for run in runs:
        if run.is_distiller:
            is_linked = any(link and link.get('weight', 1) for link in run.cfg.model.links.values())
            hooks = [hook['type'] for hook in run.cfg.get('custom_hooks') or ()]
            starts = any(str(hook).endswith('InitHook') for hook in hooks)
            run.role = 'distilled' if is_linked else 'started' if starts else 'alone'
        elif run.config_name in names or (run.cfg and _as_dict(run.cfg.get('model')) in models):
            run.role = 'teacher'


def _name(runs: Sequence[Run], given: Mapping[Path, str]) -> None:
    """Name runs by the user's words, their roles and, where those are not enough, their folders."""
    for run in runs:
        run.name = given.get(run.path) or ROLES[run.role]
    for run in runs:
        same = [other for other in runs if other.name == run.name]
        if len(same) > 1:
            seeds = {other.seed for other in same}
            for other in same:
                own = f'seed {other.seed}' if len(seeds) == len(same) else _folder(other.path)
                other.name = f'{other.name} ({own})'


def _folder(path: Path) -> str:
    """What tells a work dir from others that are laid out alike."""
    alike = path.name in ('train', 'test') or path.name.startswith('seed_')
    return path.parent.name if alike else path.name


def teachers_of(model: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the teachers of a distiller's config by name."""
    if model.get('teacher') is not None:
        return {'teacher': model['teacher']}
    return dict(model.get('teachers') or {})


def plain_config(run: Run) -> Config:
    """Return the config of what a run trained: of a distiller, its student's model in the run's."""
    if not run.is_distiller:
        return run.cfg
    cfg = run.cfg.copy()
    cfg.model = read_student_config(run.cfg.model.student).model
    return cfg


def _as_dict(model: Any) -> Any:
    return model.to_dict() if hasattr(model, 'to_dict') else model


def _is_dict(config: Any) -> bool:
    return isinstance(config, Mapping)
