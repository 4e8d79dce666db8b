"""Export a detector for a vehicle: one ONNX file from points to boxes, checked against torch.

Example:
    python tools/export.py configs/bevfusion/bevfusion_lidar_student_mini.py \
        work_dirs/bevfusion_best_mini/epoch_5_student.pth --out exports/student
    python exports/student/detector.py cloud.bin        # numpy and onnxruntime are all it takes
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
        apis.check_config(args.config)
        apis.check_checkpoint(args.checkpoint)
        from deploy.export import export
        from deploy.loading import load_detector
        from deploy.tables import report

        detector = load_detector(args.config, args.checkpoint, args.cfg_options)
        check, calibration = load_clouds(detector, args)
        meta = export(
            detector,
            args.out,
            form=args.form,
            precision='int8' if args.int8 else 'float16' if args.fp16 else 'float32',
            check=check,
            calibration=calibration,
        )
        print(report(args.out, meta))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='of the detector, or of the training that holds it')
    parser.add_argument('checkpoint', help='a training checkpoint, or a student alone')
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument(
        '--form',
        choices=['onnx', 'split', 'autoware', 'libspconv'],
        default='onnx',
        help='one file, two files, or for another runtime (default: one file)',
    )
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument(
        '--int8', type=int, default=0, metavar='N', help='8 bits, calibrated on N frames'
    )
    precision.add_argument('--fp16', action='store_true', help='the dense part in 16 bits')
    parser.add_argument(
        '--check', type=int, default=3, metavar='N', help='frames compared with torch; 0: none'
    )
    parser.add_argument(
        '--points',
        nargs='+',
        type=Path,
        metavar='CLOUD.bin',
        help="clouds to check and calibrate with; default: the config's test and training data",
    )
    parser.add_argument(
        '--sweep',
        action='store_true',
        help='each of --points is one sweep, as nuScenes stores it: its points are all of age 0',
    )
    apis.add_cfg_options(parser)
    return parser.parse_args()


def load_clouds(detector, args: argparse.Namespace) -> tuple[list, list]:
    """Clouds to check with and to calibrate with, as many as are asked for."""
    from deploy.export import family_of
    from deploy.frames import clouds_of_config, clouds_of_files, columns_of

    if args.points:
        columns = family_of(detector.model).voxel_grid(detector.model).columns
        names = columns_of(detector.cfg, columns)
        clouds = clouds_of_files(args.points, names, args.sweep)
        return clouds[: args.check], clouds[: args.int8]
    if args.check or args.int8:
        apis.check_data(detector.cfg, loaders=('test_dataloader',))
    check = clouds_of_config(detector.cfg, args.check)
    return check, clouds_of_config(detector.cfg, args.int8, of_training=True)


if __name__ == '__main__':
    main()
