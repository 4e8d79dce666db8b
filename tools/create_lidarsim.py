"""Generate the embedded data set `lidarsim`, or print the statistics of one."""

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import prepare_process

prepare_process()

from lidarsim import LAYOUTS, SIZES, Parameters, generate_dataset, verify_dataset


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    defaults = Parameters()
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('data/lidarsim'),
        help='data set folder; lidarsim_large and lidarsim_kitti have sizes of their own',
    )
    parser.add_argument(
        '--format',
        choices=LAYOUTS,
        default=defaults.layout,
        help='tables and files as of nuScenes, or KITTI',
    )
    parser.add_argument('--scenes', type=int, default=defaults.scenes, help='training scenes')
    parser.add_argument(
        '--val-scenes', type=int, default=defaults.val_scenes, help='validation scenes'
    )
    parser.add_argument(
        '--frames', type=int, default=defaults.frames, help='keyframes a scene, at 2 Hz'
    )
    parser.add_argument(
        '--sweeps', type=int, default=defaults.sweeps, help='more sweeps before each keyframe'
    )
    parser.add_argument(
        '--azimuths', type=int, default=defaults.azimuths, help='rays per beam and revolution'
    )
    parser.add_argument('--seed', type=int, default=defaults.seed)
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='processes')
    parser.add_argument('--force', action='store_true', help='replace an existing data set')
    parser.add_argument('--stats', type=Path, metavar='DIR', help='print the statistics of DIR')
    known = parser.parse_known_args()[0]
    if known.out.name in SIZES:
        sizes = asdict(SIZES[known.out.name])
        parser.set_defaults(**sizes, format=sizes['layout'])
    elif known.format == 'kitti':
        parser.set_defaults(sweeps=0)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.stats:
        from lidarsim.statistics import statistics_table

        print(statistics_table(args.stats))
        return
    parameters = Parameters(
        args.scenes,
        args.val_scenes,
        args.frames,
        args.sweeps,
        args.azimuths,
        args.seed,
        args.format,
    )
    made = generate_dataset(args.out, parameters, args.workers, args.force, progress=True)
    manifest = verify_dataset(args.out)
    print(
        f'{args.out}: {"generated" if made else "already complete, nothing to do"} '
        f'({manifest["files"]} files, {manifest["bytes"] / 1e6:.0f} MB)'
    )


if __name__ == '__main__':
    try:
        main()
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        sys.exit(f'error: {error}')
