"""From two detectors to a distilled student: shows what fits, writes the config, trains it.

Finds what teacher and student have in common, chooses the links of a recipe, says what it leaves
out and why, and tries them on made-up frames. Without --out nothing is written. The config that it
writes is short and yours: what goes on from there is an edit of that file.

Example:
    python tools/distill.py --teacher configs/bevfusion/bevfusion_lidar_teacher_mini.py \
        --teacher-checkpoint configs/bevfusion/bevfusion_lidar_teacher_mini.pth \
        --student configs/bevfusion/bevfusion_lidar_student_mini.py --out configs/distill/mine.py
    python tools/distill.py --teacher mmdet3d::pointpillars/CONFIG.py --teacher-checkpoint T.pth \
        --student-width 0.5 --out configs/distill/mine.py --train -- --work-dir work_dirs/mine
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import warnings
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import ROOT, end_with_a_sentence, prepare_process

prepare_process()

from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

import mmdistill3d.apis  # noqa: F401  (registers)
from mmdistill3d.planning import RECIPES, Request, prepare, write


def main() -> int:
    args, train_options = parse_args()
    warnings.filterwarnings('ignore')
    logging.getLogger('torch').setLevel(logging.ERROR)
    MMLogger.get_instance('distill', log_level='ERROR')
    init_default_scope('mmdet3d')
    request = Request(
        teacher=args.teacher,
        checkpoint=args.teacher_checkpoint,
        student=args.student,
        width=args.student_width,
        depth=args.student_depth,
        recipe=args.recipe,
        out=args.out,
        overwrite=args.overwrite,
        calibrate=0 if args.calibrate is None else args.batches,
        calibrate_at=args.calibrate or None,
    )
    with end_with_a_sentence():
        prepared = prepare(request, say=lambda text: print(f'{text}\n', flush=True))
        if args.out is None:
            print('nothing is written without --out')
            return 0
        written = write(prepared)
    print('\n'.join(f'wrote {path}' for path in written))
    config = str(args.out)
    if args.preflight and (status := run('preflight.py', config)):
        return status
    if args.train:
        return run('train.py', config, *train_options)
    print(f'next: python tools/preflight.py {config}; python tools/train.py {config}')
    return 0


def parse_args() -> tuple[argparse.Namespace, list[str]]:
    """The options, and behind -- those of train.py."""
    given = sys.argv[1:]
    cut = given.index('--') if '--' in given else len(given)
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog='behind --: options of tools/train.py'
    )
    config = "a config file, or 'mmdet3d::...' of the installed package"
    parser.add_argument('--teacher', required=True, help=config)
    parser.add_argument('--teacher-checkpoint', required=True, help='its weights: path or URL')
    parser.add_argument('--student', help=f'{config}; default: the teacher, made narrower')
    parser.add_argument(
        '--student-width', type=float, default=1.0, metavar='F', help='scale its channels'
    )
    parser.add_argument(
        '--student-depth', type=float, default=1.0, metavar='F', help='scale its layers'
    )
    recipes = '; '.join(f'{name}: {what.__doc__}' for name, what in RECIPES.items())
    parser.add_argument('--recipe', choices=list(RECIPES), default='best', help=recipes)
    parser.add_argument('--out', type=Path, help='config to write, below configs/ for example')
    parser.add_argument('--overwrite', action='store_true', help='write over a file that is there')
    parser.add_argument(
        '--calibrate',
        nargs='?',
        const='',
        metavar='STUDENT',
        help="set the links' weights by their gradients where the run begins, or at this "
        'checkpoint of a trained student',
    )
    parser.add_argument('--batches', type=int, default=4, help='on so many training batches')
    parser.add_argument('--preflight', action='store_true', help='then check that it will train')
    parser.add_argument('--train', action='store_true', help='then train it')
    args = parser.parse_args(given[:cut])
    if args.student is None and args.student_width == args.student_depth == 1:
        parser.error('give --student, or --student-width, or --student-depth')
    if (args.preflight or args.train) and args.out is None:
        parser.error('--preflight and --train need --out')
    if given[cut:] and not args.train:
        parser.error('options behind -- are those of --train')
    return args, given[cut + 1 :]


def run(tool: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, ROOT / 'tools' / tool, *arguments]).returncode


if __name__ == '__main__':
    sys.exit(main())
