"""Try the families of MMDetection3D on this machine: does each train, distil and predict?

Each is built from a config that MMDetection3D ships, at its own widths unless a family says
otherwise, over a short range, with a small image backbone, few points and few proposals, so that a
step takes seconds on a CPU. Batches are made up and weights random: the table says what runs, and
that a model and its copy agree, not how well anything detects.

What does not run here as it is, mostly for want of CUDA operators, is tried again with operators
in torch, and with the one algorithm of spconv that has CPU kernels; the row says so.

Example:
    python tools/check_detectors.py
    python tools/check_detectors.py VoteNet SECOND
    python tools/check_detectors.py --update-readme projects/mmdistill3d/README.md
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import end_with_a_sentence, prepare_process

prepare_process()

from mmengine.registry import init_default_scope

import mmdistill3d  # noqa: F401  (registers)
from mmdistill.analysis.tables import describe_run, update_readme
from mmdistill3d.analysis.families import choose
from mmdistill3d.analysis.family_check import check_family, table


def main() -> None:
    args = parse_args()
    warnings.filterwarnings('ignore')
    logging.disable(logging.WARNING)
    init_default_scope('mmdet3d')
    rows = []
    with end_with_a_sentence():
        families = choose(args.families)
    for family in families:
        rows.append(check_family(family))
        print(f'| {" | ".join(rows[-1].cells())} |', flush=True)
    text = write(rows)
    if args.update_readme:
        update_readme(args.update_readme, text, marker='detectors')


def write(rows: list) -> str:
    head, *cells = table(rows)
    lines = [f'| {" | ".join(line)} |' for line in (head, ['---'] * len(head), *cells)]
    run = describe_run()
    source = (
        f'`tools/check_detectors.py` at commit {run["commit"]}, on {run["date"]}: '
        f'{run["device"]}, torch {run["torch"]}. Short ranges, few points, random weights.'
    )
    return '\n'.join([*lines, '', source])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('families', nargs='*', help='names of families; default all')
    parser.add_argument('--update-readme', type=Path, help='file that holds the table')
    return parser.parse_args()


if __name__ == '__main__':
    main()
