"""Generate the embedded medical data set: images and texts in MedPix-2.0's and Wound-1-0's layouts.

Example:
    python tools/create_medsim.py --out data/medsim
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import end_with_a_sentence, prepare_process

prepare_process()

from medsim import Parameters, bounds_table, generate_dataset, verify_dataset
from medsim.picture import draw_examples


def main() -> None:
    args = parse_args()
    if args.bounds:
        print(bounds_table())
        return
    parameters = Parameters(args.cases, args.wounds, args.size, args.seed)
    made = generate_dataset(args.out, parameters, args.force)
    manifest = verify_dataset(args.out)
    print(
        f'{args.out}: {"generated" if made else "already complete, nothing to do"} '
        f'({manifest["files"]} files, {manifest["bytes"] / 1e6:.0f} MB)'
    )
    if args.picture:
        draw_examples(args.out, args.picture)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    defaults = Parameters()
    parser.add_argument('--out', type=Path, default=Path('data/medsim'), help='data set folder')
    parser.add_argument('--cases', type=int, default=defaults.cases, help='cases of one to 3 scans')
    parser.add_argument('--wounds', type=int, default=defaults.wounds, help='photos of wounds')
    parser.add_argument('--size', type=int, default=defaults.size, help='pixels of a side')
    parser.add_argument('--seed', type=int, default=defaults.seed)
    parser.add_argument('--force', action='store_true', help='replace an existing data set')
    parser.add_argument('--picture', type=Path, help='PNG of examples to write, too')
    parser.add_argument(
        '--bounds', action='store_true', help='print the best possible accuracies, and end'
    )
    return parser.parse_args()


if __name__ == '__main__':
    with end_with_a_sentence():
        main()
