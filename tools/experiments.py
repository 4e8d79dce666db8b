"""Train configs over seeds and options, teachers before their students, and tabulate the results.

What is finished is not done again, so the same command goes on after a stop. The folder of results
may have come from tools/train.py, too: --report-only tabulates NAME/seed_N/results.json.

Example:
    python tools/experiments.py configs/medvl/medsim_student.py configs/medvl/medsim_vanilla.py \\
        --seeds 0 1 2 --against medsim_student
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import ROOT, end_with_a_sentence, prepare_process

prepare_process()

from mmdistill.analysis.confusion import draw_run
from mmdistill.analysis.experiments import as_markdown, draw, origin, pivot, read_groups
from mmdistill.analysis.tables import update_readme
from mmdistill.apis.config import add_cfg_options
from mmdistill.apis.experiments import Experiment, expect, output_in, plan, read_vary, run
from mmdistill.apis.progress import length
from mmdistill.utils.work_dir import only_run_in


def main() -> None:
    args = parse_args()
    os.chdir(ROOT)
    with end_with_a_sentence():
        if not args.report_only:
            vary = read_vary(args.vary)
            runs = plan(args.configs, args.seeds, args.work_dir, args.cfg_options, vary)
            with only_run_in(args.work_dir):
                train(runs, args.work_dir)
        groups = read_groups(args.work_dir)
        text = as_markdown(groups, args.metrics, args.against, args.show)
        for key in args.pivot:
            text += f'\n\n{pivot(groups, args.metrics[-1], key)}'
        text += f'\n\n{origin(groups)}\n'
        draw(groups, args.metrics[-1], args.work_dir / 'experiments.png', args.against)
        for path in args.work_dir.rglob('seed_*/results.json'):
            draw_run(path)
    (args.work_dir / 'experiments.md').write_text(text)
    print(
        f'\n{text}\nIn {args.work_dir}: experiments.md and .png; confusion.png beside each result.'
    )
    if args.update_readme:
        update_readme(args.update_readme, text, args.marker)


def train(runs: list[Experiment], work_dir: Path) -> None:
    """Train what is left, with a plan before it unless its own lines are asked for."""
    verbose = os.environ.get('VERBOSE') == '1'
    left = [run for run in runs if not run.is_finished]
    seconds = {}
    if left and not verbose:
        print('Timing a few steps on this machine ...', flush=True)
        with output_in(work_dir / 'plan.log'):
            seconds = expect(left)
    for planned, expected in seconds.items():
        print(f'  {planned!s:50s} {length(expected):>8s}', flush=True)
    if left and not verbose:
        total = f'{length(sum(seconds.values()))} of steps in all. ' if seconds else ''
        print(f'{total}Logs: console.log of each; VERBOSE=1 shows them.', flush=True)
    run(runs, report=partial(print, flush=True), seconds=seconds, verbose=verbose)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('configs', nargs='*', help='of plain models and of distillers')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument(
        '--vary',
        nargs='+',
        action='append',
        default=[],
        metavar='KEY VALUE',
        help="entry of the (student's) model and its values; twice: all combinations",
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/experiments'))
    parser.add_argument('--metrics', nargs='+', default=['mean_f1'], help='the last is compared')
    parser.add_argument('--against', help='name of the config with which others are compared')
    parser.add_argument('--show', nargs='+', default=[], help="entries of the student's model")
    parser.add_argument('--pivot', nargs='+', default=[], help='entries with a table of their own')
    parser.add_argument('--report-only', action='store_true', help='of what is there; no runs')
    parser.add_argument('--update-readme', type=Path, help='Markdown file that gets the table')
    parser.add_argument('--marker', default='experiments', help='between <!-- MARKER --> there')
    add_cfg_options(parser, 'config entries to override in every run')
    return parser.parse_args()


if __name__ == '__main__':
    main()
