"""Show how hard each link pulls at the student beside the detection losses, to choose its weight.

A loss's value says little: what trains the student is its gradient. For a few batches the norm of
each link's gradient over the student's parameters is printed as a share of the detection losses'
own, with the cosine between the two. A share of 0.1 to 1 is where most published recipes work; a
negative cosine means that the link works against the detection losses.

Example:
    python tools/analysis/link_gradients.py configs/distill/bevfusion_crd_mini.py
    python tools/analysis/link_gradients.py configs/distill/losses/*.py \
        --student work_dirs/bevfusion_lidar_student_mini/epoch_5.pth
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])
from tools._start import end_with_a_sentence, prepare_process

prepare_process()

from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, set_random_seed

from mmdistill.analysis.gradients import measure_links
from mmdistill.apis import add_cfg_options, check_data, check_teachers, load_config
from mmdistill.teacher import load_strictly
from mmdistill.utils.checkpoint import load_weights


def main() -> None:
    args = parse_args()
    report = {}
    print(f'{"config":32} {"link":24} {"value":>8} {"share":>8} {"cosine":>8}')
    for path in args.configs:
        report[path] = measure(path, args)
        for link, row in report[path].items():
            print(
                f'{Path(path).stem:32} {link:24} {row["value"]:8.3f} {row["share"]:8.3f} '
                f'{row["cosine"]:8.2f}',
                flush=True,
            )
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + '\n')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', help='distillation configs')
    parser.add_argument('--student', help='checkpoint of the plain student to measure at')
    parser.add_argument('--batches', type=int, default=4)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, help='JSON file to write')
    add_cfg_options(parser)
    return parser.parse_args()


def measure(path: str, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Value, share and cosine of each link of a config."""
    with end_with_a_sentence():
        cfg = load_config(path, args.cfg_options)
        check_data(cfg, loaders=('train_dataloader',))
        check_teachers(cfg)
    set_random_seed(args.seed)
    init_default_scope(cfg.get('default_scope', 'mmdet3d'))
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=args.seed)
    distiller = MODELS.build(cfg.model)
    distiller.init_weights()
    if args.student:
        weights = load_weights(args.student)['state_dict']
        load_strictly(distiller.student, weights, f'student ({args.student})')
    return measure_links(distiller, loader, args.batches)


if __name__ == '__main__':
    main()
