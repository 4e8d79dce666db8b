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
from tools._common import check_data, prepare_process

prepare_process()

from tools._run import add_run_arguments, build_runner, read_config


def main() -> None:
    args = parse_args()
    try:
        from deploy.evaluate import with_export

        cfg = with_export(read_config(args), args.folder, args.threads)
        check_data(cfg, loaders=('test_dataloader',))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'{type(error).__name__}: {error}')
    except ModuleNotFoundError as error:
        sys.exit(f'{error}; exports need: pip install -e ".[deploy]"')
    build_runner(cfg).test()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', help='of the export')
    parser.add_argument('config', help='its test data and metrics are used')
    parser.add_argument('--threads', type=int, default=1, help='of onnxruntime')
    add_run_arguments(parser, example='test_dataloader.batch_size=4')
    return parser.parse_args()


if __name__ == '__main__':
    main()
