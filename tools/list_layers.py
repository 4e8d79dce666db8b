"""List the layers that links can address, with what they return for one batch.

A student's are those of its training pass, and what is there in prediction alone is marked; a
teacher's are those of the pass in which it teaches. For a distillation config, teacher and student
stand side by side, followed by pairs of maps, or points, of one size: candidates for a link.

Example:
    python tools/list_layers.py configs/distill/bevfusion_crd_mini.py
    python tools/list_layers.py configs/bevfusion/bevfusion_lidar_student_mini.py --depth 2
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import end_with_a_sentence, prepare_process

prepare_process()

from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from mmdistill import Distiller
from mmdistill.analysis.layers import list_layers, pairs, shallow, side_by_side
from mmdistill.apis import add_cfg_options, check_data, load_config


def main() -> None:
    args = parse_args()
    with end_with_a_sentence():
        cfg = load_config(args.config, args.cfg_options)
        check_data(cfg, loaders=('train_dataloader',))
    init_default_scope(cfg.get('default_scope', 'mmdet3d'))
    if cfg.model.get('teacher'):
        # Shapes do not depend on what a teacher has learned.
        cfg.model.teacher.update(checkpoint=None, allow_random_weights=True)
    model = MODELS.build(cfg.model)
    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader)))
    models, modes = {'model': model}, {}
    if isinstance(model, Distiller):
        teachers = {name: teacher.model for name, teacher in model.teachers.items()}
        models = {'student': model.student, **teachers}
        modes = {name: teacher.mode for name, teacher in model.teachers.items()}
    layers = {
        name: list_layers(part, batch, modes.get(name, 'loss')) for name, part in models.items()
    }
    print('\n' + ', '.join(f'{name}: {type(part).__name__}' for name, part in models.items()))
    shown = {name: shallow(found, args.depth) for name, found in layers.items()}
    print('\n'.join(side_by_side(shown)))
    for name in list(layers)[1:]:
        print('\n'.join(pairs(name, layers['student'], layers[name], model.student)))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='a distillation config, or that of a plain model')
    parser.add_argument('--depth', type=int, default=3, help='modules down to this depth')
    add_cfg_options(parser)
    return parser.parse_args()


if __name__ == '__main__':
    main()
