"""Convert a published BEVFusion checkpoint to the LiDAR detector of this repository.

Takes files of mit-han-lab/bevfusion (encoders.lidar.backbone.*, decoder.*, heads.object.*) and of
MMDetection3D (pts_middle_encoder.*, ...), of LiDAR and of LiDAR-camera detectors, with sparse
kernels in any layout, and says what became of every key. Files of MMDetection3D's LiDAR detector
also load as they are.

Example:
    python tools/convert_checkpoint.py lidar-only-det.pth \
        checkpoints/bevfusion_lidar_teacher_mit.pth --check samples/LIDAR_TOP/some_sweep.pcd.bin
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import end_with_a_sentence, prepare_process

prepare_process()

import numpy as np
import torch
from mmengine.registry import MODELS, init_default_scope

from bevfusion.checkpoint import MIT, MMDET3D, convert_weights, naming_of
from bevfusion.encoder_check import check_encoder
from mmdistill.apis import check_checkpoint, check_config, load_config
from mmdistill.utils.checkpoint import load_weights

CONFIGS = {
    MIT: 'configs/bevfusion/bevfusion_lidar_teacher_mit.py',
    MMDET3D: 'configs/bevfusion/bevfusion_lidar_teacher.py',
}


def main() -> None:
    args = parse_args()
    with end_with_a_sentence():
        if args.config is not None:
            check_config(args.config)
        check_checkpoint(args.source)
        if args.check is not None and not args.check.is_file():
            raise FileNotFoundError(f'The sweep {str(args.check)!r} of --check does not exist.')
    try:
        weights = load_weights(args.source)['state_dict']
        config = args.config or CONFIGS[naming_of(weights)]
        cfg = load_config(config)
        init_default_scope(cfg.get('default_scope', 'mmdet3d'))
        model = MODELS.build(cfg.model)
        conversion = convert_weights(weights, model)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'{args.source}: {error}')
    print(conversion.describe(args.source))
    if args.check is not None:
        points = np.fromfile(args.check, np.float32).reshape(-1, args.load_dim)
        points[:, 4:] = 0  # the age of a sweep that stands alone
        print(f'check on {args.check}: {check_encoder(model, torch.from_numpy(points))}')
    with end_with_a_sentence():
        conversion.save(args.out, args.source, args.allow_missing)
    print(f'{len(conversion.state_dict)} keys written to {args.out}, for {config}.')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('source', help='path or URL of the published checkpoint')
    parser.add_argument('out', type=Path, help='file to write')
    parser.add_argument(
        '--config',
        help='config of the detector (default: bevfusion_lidar_teacher_mit.py for files of '
        'mit-han-lab/bevfusion, bevfusion_lidar_teacher.py for others)',
    )
    parser.add_argument(
        '--allow-missing', action='store_true', help='write the file although it is not whole'
    )
    parser.add_argument(
        '--check',
        type=Path,
        metavar='POINTS.bin',
        help='a sweep (float32, as nuScenes stores it) on which to check the kernels',
    )
    parser.add_argument('--load-dim', type=int, default=5, help='numbers per point of the sweep')
    return parser.parse_args()


if __name__ == '__main__':
    main()
