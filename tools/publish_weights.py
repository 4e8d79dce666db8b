"""Write a checkpoint's weights to ship: float16, with a note of hash, command, commit and metrics.

Example:
    python tools/publish_weights.py work_dirs/teacher/epoch_12.pth \
        --out configs/bevfusion/bevfusion_lidar_teacher_mini.pth --seed 0 \
        --command 'python tools/train.py configs/bevfusion/bevfusion_lidar_teacher_mini_large.py' \
        --metrics work_dirs/teacher/test/20260101_000000/20260101_000000.json \
        --run work_dirs/teacher
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import prepare_process

prepare_process()

from mmdistill.analysis.results import all_validations
from mmdistill.analysis.tables import describe_run
from mmdistill.utils.publish import publish_weights


def main() -> None:
    args = parse_args()
    metrics = {}
    if args.metrics:
        logged = json.loads(args.metrics.read_text())
        metrics = {key.rsplit('/', 1)[-1]: value for key, value in logged.items()}
    note = {
        'command': args.command,
        'seed': args.seed,
        **describe_run(),
        **({'commit': args.commit} if args.commit else {}),
        'metrics': metrics,
    }
    if args.run:
        note['validations'] = all_validations(args.run)
    try:
        written = publish_weights(args.checkpoint, args.out, note)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'{type(error).__name__}: {error}')
    print(f'{args.out}: {written["bytes"] / 1e6:.1f} MB, sha256 {written["sha256"]}')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', help='what a training run saved')
    parser.add_argument('--out', type=Path, required=True, help='*.pth; the note is *.json')
    parser.add_argument('--command', required=True, help='what trained it')
    parser.add_argument('--seed', type=int, required=True)
    parser.add_argument('--commit', help='of the training; default: as things stand here')
    parser.add_argument('--metrics', type=Path, help='JSON that tools/test.py wrote of it')
    parser.add_argument('--run', type=Path, help='its work dir: the note lists its validations')
    return parser.parse_args()


if __name__ == '__main__':
    main()
