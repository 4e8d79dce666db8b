"""Draw single frames from above: points, ground truth and predictions.

Example:
    python tools/visualize.py --data data/lidarsim --index 0 25 --out work_dirs/pictures
    python tools/visualize.py CONFIG --checkpoint FILE --index 0 --out work_dirs/pictures

The first form needs no model and no config. The second draws what the model of a config sees; its
predictions, too, if a checkpoint is given.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import end_with_a_sentence, prepare_process

prepare_process()

from mmengine.registry import init_default_scope

from lidarsim import verify_dataset
from mmdistill.apis import load_config
from mmdistill3d.visualization import draw_bev, frames_of_config, frames_of_infos


def main() -> None:
    args = parse_args()
    with end_with_a_sentence():
        if args.data:
            verify_dataset(args.data)
            frames, classes = frames_of_infos(args.data, args.split, args.index)
        else:
            cfg = load_config(args.config)
            init_default_scope(cfg.get('default_scope', 'mmdet3d'))
            options = (args.split, args.index, args.checkpoint, args.score_thr, args.device)
            frames, classes = frames_of_config(cfg, *options)
        for frame in frames:
            file = args.out / f'{frame.name.replace("/", "_").replace(" ", "_")}.png'
            draw_bev(frame, classes, file, args.range, args.dpi)
            print(file, flush=True)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', nargs='?', help='path of the config file')
    parser.add_argument('--data', type=Path, help='draw this lidarsim data set; no config needed')
    parser.add_argument('--checkpoint', help='path or URL of the weights for predictions')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='val')
    parser.add_argument('--index', type=int, nargs='+', default=[0], help='frames of the split')
    parser.add_argument('--out', type=Path, required=True, help='folder for the pictures')
    parser.add_argument('--score-thr', type=float, default=0.2, help='lowest score that is drawn')
    parser.add_argument('--range', type=float, default=30.0, help='half width in metres')
    parser.add_argument('--dpi', type=int, default=110, help='resolution; 10.6 x 8 inches')
    parser.add_argument('--device', help="device of the model; default 'cuda' where there is one")
    args = parser.parse_args()
    if bool(args.config) == bool(args.data):
        parser.error('give either a config or --data')
    if args.data and args.checkpoint:
        parser.error('--checkpoint needs a config, not --data')
    return args


if __name__ == '__main__':
    main()
