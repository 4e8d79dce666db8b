"""A demo as stages: data, training and evaluation of each run, the measurement."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdistill.apis.config import as_arguments, moved_paths
from mmdistill.apis.plan import Pace
from mmdistill.apis.stages import Stage
from mmdistill.utils.files import sha256

QUICK_ITERATIONS = 12
REPORT_FRAMES = 24
Options = dict[str, Any]


@dataclass(frozen=True)
class Demo:
    """What a demo is made of.

    Args:
        teacher (str): config of the teacher.
        student (str): config of the student alone.
        distilled (str): config of the student under the teacher.
        started (str): config of the student that has the teacher's weights at its start, and no
            links: what of the gain is that start.
        data_root (str): folder of the data set.
        make_data (tuple[str, ...]): arguments of Python that make the data set.
        manifest (str): file in ``data_root`` that exists when the data set is complete.
        folder (Path): for everything that is written.
        seed (int): of every training run.
        quick (bool): one epoch or a few iterations, to prove the chain.
        weights (Path, optional): of a teacher that is trained already; without them it is
            trained first.
        samples (tuple[int, int]): of the training and the validation split, for the plan.
    """

    teacher: str
    student: str
    distilled: str
    started: str
    data_root: str
    make_data: tuple[str, ...]
    manifest: str
    folder: Path
    seed: int = 0
    quick: bool = False
    weights: Path | None = None
    samples: tuple[int, int] = (0, 0)

    def runs(self) -> list[Run]:
        """The training runs, with the config entries that are overridden in each."""
        teacher = Run(
            'teacher',
            'Teacher',
            self.teacher,
            self.options(self.teacher),
            self.teacher,
            weights=self.weights,
        )
        needs = ('data', 'teacher') if self.weights is None else ('data',)
        taught = {'model.teacher.checkpoint': str(last_checkpoint(teacher, self.folder))}
        return [
            teacher,
            Run(
                'student', 'Student, alone', self.student, self.options(self.student), self.student
            ),
            *(
                Run(name, label, config, self.options(config) | taught, self.student, needs)
                for name, label, config in (
                    ('started', "Student, started from the teacher's weights", self.started),
                    ('distilled', 'Student, distilled', self.distilled),
                )
            ),
        ]

    def options(self, config: str) -> Options:
        """Config entries that a run overrides."""
        return demo_options(load(config), self.data_root, self.seed, self.quick)

    def stages(self, runs: Sequence[Run]) -> list[Stage]:
        """Data, then training and evaluation of each run, then the measurement."""
        python = sys.executable
        weights = None if self.weights is None else sha256(self.weights)
        data = Stage(
            'data',
            [python, *self.make_data],
            outputs=[Path(self.data_root) / self.manifest],
            always=True,
        )
        training = [
            Stage(
                run.name,
                [python, 'tools/train.py', run.config, '--resume']
                + ['--work-dir', str(self.folder / run.name / 'train'), *as_arguments(run.options)],
                outputs=[last_checkpoint(run, self.folder)],
                needs=run.needs,
                key={'config': config_content(run.config), 'weights': weights},
                folder=self.folder / run.name / 'train',
            )
            for run in sorted(runs, key=_turn)
            if run.weights is None
        ]
        evaluation = [
            Stage(
                f'{run.name}_test',
                [python, 'tools/test.py', run.config, str(last_checkpoint(run, self.folder))]
                + ['--work-dir', str(self.folder / run.name / 'test'), *as_arguments(run.options)],
                needs=(run.name,) if run.weights is None else run.needs,
                key={'weights': weights},
                folder=self.folder / run.name / 'test',
            )
            for run in runs
        ]
        measurement = self._measurement(*runs[:2])
        return [data, *training, *evaluation, measurement, self._report(evaluation, measurement)]

    def notes(self, runs: Sequence[Run]) -> dict[str, str]:
        """What each stage does, in words."""
        notes = {'data': f'makes {self.data_root}'}
        for run in runs:
            cfg = load(run.config)
            cfg.merge_from_dict(run.options)
            epochs = cfg.train_cfg.get('max_epochs')
            length = '' if epochs is None else f', {epochs} epoch{"s" * (epochs > 1)}'
            notes[run.name] = f'trains: {run.label}{length}'
            notes[f'{run.name}_test'] = f'evaluates: {run.label}'
        notes['measure'] = 'parameters, MACs and milliseconds of the two networks'
        notes['report'] = f'writes {self.report}'
        return notes

    def seconds(
        self, runs: Sequence[Run], paces: Mapping[str, Pace], start_s: float
    ) -> dict[str, float]:
        """What each stage is expected to take.

        Args:
            runs (Sequence[Run]): of the demo.
            paces (Mapping[str, Pace]): of the runs' configs.
            start_s (float): what a command takes until it computes.
        """
        train, val = self.samples
        seconds = dict.fromkeys(('data', 'measure', 'report'), start_s)
        for run in runs:
            pace = paces[run.config]
            cfg = load(run.config)
            cfg.merge_from_dict(run.options)
            seconds[run.name] = start_s + pace.training_s(cfg, train, val)
            seconds[f'{run.name}_test'] = start_s + val * pace.predict_s
            seconds['report'] += min(REPORT_FRAMES, val) * pace.predict_s
        return seconds

    @property
    def report(self) -> Path:
        """The page that is written at the end."""
        return self.folder / 'report.html'

    def _report(self, evaluation: Sequence[Stage], measurement: Stage) -> Stage:
        """The page of all runs."""
        title = 'Demo, a quick run: its accuracies mean nothing' if self.quick else 'Demo'
        return Stage(
            'report',
            [sys.executable, 'tools/report.py', str(self.folder), '--out', str(self.report)]
            + ['--costs', str(measurement.outputs[0]), '--frames', str(REPORT_FRAMES)]
            + ['--pictures', str(self.folder / 'pictures'), '--title', title],
            outputs=[self.report],
            needs=[*(stage.name for stage in evaluation), measurement.name],
        )

    def _measurement(self, teacher: Run, student: Run) -> Stage:
        """Cost of the two networks, with nothing else running."""
        checkpoints = [str(last_checkpoint(run, self.folder)) for run in (teacher, student)]
        out = self.folder / 'compare.json'
        return Stage(
            'measure',
            [sys.executable, 'tools/analysis/compare_models.py', teacher.config, student.config]
            + ['--checkpoints', *checkpoints, '--out', str(out)]
            + as_arguments({**teacher.options, **student.options}),
            outputs=[out],
            needs=tuple(run.name for run in (teacher, student) if run.weights is None),
            alone=True,
        )


@dataclass(frozen=True)
class Run:
    """One training run of a demo.

    Args:
        name (str): of its stage and folder.
        label (str): of its row in the table.
        config (str): path of its config.
        options (dict): config entries to override.
        network (str): config of the plain detector that is trained.
        needs (tuple[str, ...]): stages that come before.
        weights (Path, optional): of a run that was made elsewhere, and is not made again.
    """

    name: str
    label: str
    config: str
    options: Options
    network: str
    needs: tuple[str, ...] = ('data',)
    weights: Path | None = None


def _turn(run: Run) -> int:
    """The distilled student takes longest: the others are trained beside it."""
    return {'teacher': 0, 'distilled': 1}.get(run.name, 2)


def demo_options(cfg: Config, data_root: str, seed: int, quick: bool) -> Options:
    """Config entries that one run of a demo overrides."""
    options: Options = {'randomness.seed': seed}
    if cfg.get('data_root') and cfg.data_root.rstrip('/') != data_root:
        options |= moved_paths(cfg.to_dict(), cfg.data_root.rstrip('/'), data_root)
    if quick:
        length = 'max_epochs' if 'max_epochs' in cfg.train_cfg else 'max_iters'
        options |= {
            f'train_cfg.{length}': 1 if length == 'max_epochs' else QUICK_ITERATIONS,
            'default_hooks.logger.interval': 1,
        }
    return options


def last_checkpoint(run: Run, folder: Path) -> Path:
    """Where MMEngine leaves the checkpoint of a run's last epoch or iteration."""
    if run.weights is not None:
        return run.weights
    cfg = load(run.config)
    cfg.merge_from_dict(run.options)
    schedule: Mapping[str, Any] = cfg.train_cfg
    if 'max_epochs' in schedule:
        name = f'epoch_{schedule["max_epochs"]}.pth'
    else:
        name = f'iter_{schedule["max_iters"]}.pth'
    return folder / run.name / 'train' / name


def load(config: str) -> Config:
    """Read a config without importing the packages that it names."""
    return Config.fromfile(config, import_custom_modules=False)


def config_content(config: str) -> str:
    """A config with its bases merged, as text, so that a change anywhere shows."""
    return repr(load(config).to_dict())
