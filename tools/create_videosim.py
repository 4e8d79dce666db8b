"""Generate the embedded video data set `videosim`, in UCF101's or Kinetics' layout.

Example:
    python tools/create_videosim.py --out data/videosim
    python tools/create_videosim.py --out data/videosim_kinetics --layout kinetics --trimmed \
        --train-groups 150 --val-groups 5 --test-groups 5 --clips 1 --frames 16
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import prepare_process

prepare_process()

from videosim import Parameters, generate_dataset, verify_dataset
from videosim.layouts import LAYOUTS


def main() -> None:
    args = parse_args()
    options = {field.name: getattr(args, field.name) for field in fields(Parameters)}
    made = generate_dataset(
        args.out, Parameters(**options), args.workers, args.force, progress=True
    )
    manifest = verify_dataset(args.out)
    print(
        f'{args.out}: {"generated" if made else "already complete, nothing to do"} '
        f'({manifest["files"]} files, {manifest["bytes"] / 1e6:.0f} MB)'
    )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    defaults = Parameters()
    parser.add_argument('--out', type=Path, default=Path('data/videosim'), help='data set folder')
    parser.add_argument('--layout', choices=LAYOUTS, default=defaults.layout)
    for name, text in (
        ('train_groups', 'figures a class in the training split'),
        ('val_groups', 'the same for validation'),
        ('test_groups', 'the same for the test'),
        ('clips', 'clips a figure'),
        ('frames', 'frames a clip, at 16 a second'),
        ('size', 'height and width in pixels'),
        ('seed', 'of everything'),
    ):
        option = f'--{name.replace("_", "-")}'
        parser.add_argument(option, type=int, default=getattr(defaults, name), help=text)
    parser.add_argument('--trimmed', action='store_true', help='the action fills the clip')
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='processes')
    parser.add_argument('--force', action='store_true', help='replace an existing data set')
    return parser.parse_args()


if __name__ == '__main__':
    try:
        main()
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        sys.exit(f'error: {error}')
