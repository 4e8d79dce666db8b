"""Run the demo: a teacher, a student alone, a student distilled; trained, evaluated, one table.

Everything is done once: call it again after a stop, and it goes on from there.

Example:
    python tools/demo.py                 # about half an hour on two cores
    python tools/demo.py --quick         # the whole chain on tiny data, a few minutes
    python tools/demo.py --update-readme # puts the table into README.md
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._common import ROOT, prepare_process

prepare_process()

from mmengine.config import Config

from tools._demo_table import Row, update_readme, write_table
from tools._stages import Pipeline, Stage, StageError

TEACHER = 'configs/bevfusion/bevfusion_lidar_teacher_mini.py'
STUDENT = 'configs/bevfusion/bevfusion_lidar_student_mini.py'
DISTILL = 'configs/distill/bevfusion_best_mini.py'
QUICK_DATA = ('--scenes', '3', '--val-scenes', '1', '--frames', '4')
QUICK_ITERATIONS = 12
Options = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training run of the demo.

    Args:
        name (str): of its stage and folder.
        label (str): of its row in the table.
        config (str): path of its config.
        options (dict): config entries to override.
        network (str): config of the plain detector that is trained.
        needs (tuple[str, ...]): stages that come before.
    """

    name: str
    label: str
    config: str
    options: Options
    network: str
    needs: tuple[str, ...] = ('data',)


def main() -> None:
    args = parse_args()
    os.chdir(ROOT)
    name = 'demo_quick' if args.quick else 'demo'
    data_root = 'data/lidarsim_quick' if args.quick else 'data/lidarsim'
    folder = args.work_dir or Path('work_dirs') / name
    try:
        runs = plan_runs(folder, data_root, args.seed, args.quick)
        pipeline = Pipeline(
            plan_stages(runs, folder, data_root, args.quick),
            state_dir=folder / 'stages',
            parallel=args.parallel,
            env={'PYTHONUNBUFFERED': '1', 'TQDM_MININTERVAL': '5'},
        )
        something_new = pipeline.run()
    except (StageError, FileNotFoundError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print('\nStopped. The same command again goes on from here.', file=sys.stderr)
        sys.exit(130)
    table_file = folder / 'table.md'
    if something_new or not table_file.exists():
        rows = [
            Row(run.label, run.network, folder / run.name / 'test', pipeline.seconds(run.name))
            for run in runs
        ]
        write_table(rows, folder, seed=args.seed, quick=args.quick)
    table = table_file.read_text()
    print(f'\n{table}\nIn {table_file}, with all numbers in {folder / "table.json"}.')
    if args.update_readme:
        update_readme(ROOT / 'README.md', table)
        print('README.md has the new table.')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--quick', action='store_true', help='tiny data, few iterations')
    parser.add_argument('--seed', type=int, default=0, help='seed of every training run')
    parser.add_argument('--work-dir', type=Path, help='where everything is written')
    parser.add_argument(
        '--parallel', type=int, default=min(2, os.cpu_count() or 1), help='stages at a time'
    )
    parser.add_argument('--update-readme', action='store_true', help='put the table into README.md')
    return parser.parse_args()


def plan_runs(folder: Path, data_root: str, seed: int, quick: bool) -> list[Run]:
    """The three training runs, with the config entries that the demo overrides in each."""
    options = {
        config: demo_options(load(config), data_root, seed, quick)
        for config in (TEACHER, STUDENT, DISTILL)
    }
    teacher = Run('teacher', 'Teacher', TEACHER, options[TEACHER], TEACHER)
    checkpoint = last_checkpoint(teacher, folder)
    return [
        teacher,
        Run('student', 'Student, alone', STUDENT, options[STUDENT], STUDENT),
        Run(
            'distilled',
            'Student, distilled',
            DISTILL,
            {**options[DISTILL], 'model.teacher.checkpoint': str(checkpoint)},
            STUDENT,
            needs=('data', 'teacher'),
        ),
    ]


def plan_stages(runs: list[Run], folder: Path, data_root: str, quick: bool) -> list[Stage]:
    """The demo as stages: data, then training and evaluation of each run, then the measurement."""
    python = sys.executable
    data = Stage(
        'data',
        [python, 'tools/create_lidarsim.py', '--out', data_root, *(QUICK_DATA if quick else ())],
        outputs=[Path(data_root) / 'lidarsim.json'],
        always=True,
    )
    training = [
        Stage(
            run.name,
            [python, 'tools/train.py', run.config, '--resume']
            + ['--work-dir', str(folder / run.name / 'train'), *as_arguments(run.options)],
            outputs=[last_checkpoint(run, folder)],
            needs=run.needs,
            key={'config': config_content(run.config)},
            folder=folder / run.name / 'train',
        )
        for run in runs
    ]
    evaluation = [
        Stage(
            f'{run.name}_test',
            [python, 'tools/test.py', run.config, str(last_checkpoint(run, folder))]
            + ['--work-dir', str(folder / run.name / 'test'), *as_arguments(run.options)],
            needs=(run.name,),
            folder=folder / run.name / 'test',
        )
        for run in runs
    ]
    teacher, student, _ = runs
    measurement = Stage(
        'measure',
        [python, 'tools/analysis/compare_models.py', teacher.config, student.config]
        + ['--checkpoints', *(str(last_checkpoint(run, folder)) for run in (teacher, student))]
        + ['--out', str(folder / 'compare.json')]
        + as_arguments({**teacher.options, **student.options}),
        outputs=[folder / 'compare.json'],
        needs=(teacher.name, student.name),
        alone=True,
    )
    return [data, *training, *evaluation, measurement]


def demo_options(cfg: Config, data_root: str, seed: int, quick: bool) -> Options:
    """Config entries that one run of the demo overrides."""
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


def moved_paths(value: Any, old_root: str, new_root: str, key: str = '') -> Options:
    """Find every entry that is a path under a folder, with that folder replaced.

    Returns:
        dict: dotted key (with list positions as numbers) to the new path.
    """
    if isinstance(value, str):
        inside = value == old_root or value.startswith(f'{old_root}/')
        return {key: new_root + value[len(old_root) :]} if inside else {}
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, (list, tuple)):
        items = list(enumerate(value))
    else:
        return {}
    moved: Options = {}
    for name, inner in items:
        moved |= moved_paths(inner, old_root, new_root, f'{key}.{name}' if key else str(name))
    return moved


def last_checkpoint(run: Run, folder: Path) -> Path:
    """Where MMEngine leaves the checkpoint of a run's last epoch or iteration."""
    cfg = load(run.config)
    cfg.merge_from_dict(run.options)
    schedule = cfg.train_cfg
    if 'max_epochs' in schedule:
        name = f'epoch_{schedule.max_epochs}.pth'
    else:
        name = f'iter_{schedule.max_iters}.pth'
    return folder / run.name / 'train' / name


def load(config: str) -> Config:
    """Read a config without importing the packages that it names."""
    return Config.fromfile(config, import_custom_modules=False)


def config_content(config: str) -> str:
    """A config with its bases merged, as text, so that a change anywhere shows."""
    return repr(load(config).to_dict())


def as_arguments(options: Mapping[str, Any]) -> list[str]:
    """Config entries as command-line arguments."""
    return ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]


if __name__ == '__main__':
    main()
