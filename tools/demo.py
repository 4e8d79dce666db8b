"""Run the demo: a teacher, a student alone, a student distilled; trained, evaluated, one table.

Everything is done once: call it again after a stop, and it goes on from there.

Example:
    python tools/demo.py                 # about half an hour on two cores
    python tools/demo.py --quick         # the whole chain on tiny data, a few minutes
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import ROOT, prepare_process

prepare_process()

from mmdistill.analysis.tables import update_readme
from mmdistill.apis.demo import Demo
from mmdistill.apis.demo_table import Row, write_table
from mmdistill.apis.plan import time_in_process
from mmdistill.apis.progress import Progress
from mmdistill.apis.stages import Pipeline, StageError
from mmdistill.utils.work_dir import WorkDirError, only_run_in

SHIPPED = Path('configs/bevfusion/bevfusion_lidar_teacher_mini.pth')
QUICK_DATA = ('--scenes', '3', '--val-scenes', '1', '--frames', '4')


def main() -> None:
    args = parse_args()
    os.chdir(ROOT)
    demo = read_demo(args)
    try:
        with only_run_in(demo.folder):
            show(demo, args)
    except (StageError, FileNotFoundError, WorkDirError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print('\nStopped. The same command again goes on from here.', file=sys.stderr)
        sys.exit(130)


def show(demo: Demo, args: argparse.Namespace) -> None:
    """Bring every stage to its end, and print what came out."""
    runs = demo.runs()
    stages, state_dir = demo.stages(runs), demo.folder / 'stages'
    env = {'PYTHONUNBUFFERED': '1', 'TQDM_MININTERVAL': '5'}
    pipeline = Pipeline(stages, state_dir, args.parallel, env)
    finished = [stage.name for stage in stages if pipeline.is_finished(stage.name)]
    print(f'The demo in {demo.folder}: {len(stages)} stages.', flush=True)
    seconds = {}
    if len(finished) < len(stages):
        print('Timing a few steps on this machine ...', flush=True)
        paces, start_s = time_in_process([run.config for run in runs], state_dir / 'plan')
        seconds = demo.seconds(runs, paces, start_s)
    verbose = os.environ.get('VERBOSE') == '1'
    progress = Progress(stages, seconds, args.parallel, state_dir, verbose)
    progress.plan(demo.notes(runs), finished, 'from timed steps on made-up frames')
    pipeline.watcher = progress
    something_new = pipeline.run()
    table_file = demo.folder / 'table.md'
    if something_new or not table_file.exists():
        rows = [
            Row(
                run.label,
                run.network,
                demo.folder / run.name / 'test',
                pipeline.seconds(run.name) if run.weights is None else None,
            )
            for run in runs
        ]
        write_table(rows, demo.folder, seed=args.seed, quick=args.quick)
    table = table_file.read_text()
    print(f'\n{table}\nIn {table_file}, with all numbers in {demo.folder / "table.json"}.')
    print(f'The page to look at: {demo.report}')
    if args.update_readme:
        update_readme(args.update_readme, table)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--quick', action='store_true', help='tiny data, few iterations')
    parser.add_argument('--seed', type=int, default=0, help='seed of every training run')
    parser.add_argument(
        '--teacher',
        choices=['shipped', 'train'],
        default='shipped',
        help=f'the weights of {SHIPPED}, or trained here first, on the frames of the demo',
    )
    parser.add_argument('--work-dir', type=Path, help='where everything is written')
    parser.add_argument(
        '--parallel', type=int, default=min(2, os.cpu_count() or 1), help='stages at a time'
    )
    parser.add_argument('--update-readme', type=Path, help='file with <!-- demo-table --> markers')
    return parser.parse_args()


def read_demo(args: argparse.Namespace) -> Demo:
    data_root = 'data/lidarsim_quick' if args.quick else 'data/lidarsim'
    make_data = ('tools/create_lidarsim.py', '--out', data_root)
    return Demo(
        teacher='configs/bevfusion/bevfusion_lidar_teacher_mini.py',
        student='configs/bevfusion/bevfusion_lidar_student_mini.py',
        distilled='configs/distill/bevfusion_best_mini.py',
        started='configs/distill/combinations/init.py',
        data_root=data_root,
        make_data=make_data + (QUICK_DATA if args.quick else ()),
        manifest='lidarsim.json',
        folder=args.work_dir or Path('work_dirs') / ('demo_quick' if args.quick else 'demo'),
        seed=args.seed,
        quick=args.quick,
        samples=(12, 4) if args.quick else (500, 120),
        weights=SHIPPED if args.teacher == 'shipped' else None,
    )


if __name__ == '__main__':
    main()
