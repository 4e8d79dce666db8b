"""Evaluate a checkpoint with the metrics of a config, and draw its detections on request.

Example:
    python tools/test.py configs/distill/bevfusion_crd_mini.py work_dirs/crd/epoch_20.pth
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import end_with_a_sentence, prepare_process

prepare_process()

from mmdistill import apis


def main() -> None:
    args = parse_args()
    with end_with_a_sentence():
        cfg = apis.read_config(args)
        if args.show or args.show_dir:
            from mmdistill3d.apis.drawing import draw_detections

            draw_detections(
                cfg, args.task, args.score_thr, args.show, args.show_dir, args.wait_time
            )
        apis.set_test_options(cfg, args.checkpoint, args.tta)
        apis.check_checkpoint(args.checkpoint)
        apis.check_data(cfg, loaders=('test_dataloader',))
    with apis.process_group(cfg):
        apis.build_runner(cfg).test()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument('--show', action='store_true', help='show detections in a window')
    parser.add_argument('--show-dir', help='folder (under the work dir) for painted images')
    parser.add_argument('--score-thr', type=float, default=0.1, help='lowest score that is drawn')
    parser.add_argument('--task', help='what --show and --show-dir draw, e.g. lidar_det')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between shown frames')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    apis.add_run_arguments(parser, example='test_dataloader.batch_size=4')
    return parser.parse_args()


if __name__ == '__main__':
    main()
