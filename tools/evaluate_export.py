"""Evaluate an export with the metrics of a config, as test.py evaluates a checkpoint.

Example:
    python tools/evaluate_export.py exports/student \
        configs/bevfusion/bevfusion_lidar_student_mini.py
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import end_with_a_sentence, prepare_process

prepare_process()

from deploy.extra import require_extra
from mmdistill import apis


def main() -> None:
    args = parse_args()
    with end_with_a_sentence():
        require_extra()
        cfg = apis.read_config(args)
        apis.check_data(cfg, loaders=('test_dataloader',))
        from deploy.evaluate import with_export

        cfg = with_export(cfg, args.folder, args.threads)
    apis.build_runner(cfg).test()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', help='of the export')
    parser.add_argument('config', help='its test data and metrics are used')
    parser.add_argument('--threads', type=int, default=1, help='of onnxruntime')
    apis.add_run_arguments(parser, example='test_dataloader.batch_size=4')
    return parser.parse_args()


if __name__ == '__main__':
    main()
