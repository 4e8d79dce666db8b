"""Convert a published BEVFusion checkpoint to the LiDAR detector of this repository.

Takes files of mit-han-lab/bevfusion (encoders.lidar.backbone.*, decoder.*, heads.object.*) and of
MMDetection3D (pts_middle_encoder.*, ...), of LiDAR and of LiDAR-camera detectors, with sparse
kernels in any layout, and says what became of every key. Files of MMDetection3D's LiDAR detector
also load as they are.

Example:
    python tools/convert_checkpoint.py lidar-only-det.pth checkpoints/bevfusion_lidar_teacher.pth \
        --check samples/LIDAR_TOP/some_sweep.pcd.bin
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._common import check_checkpoint, check_config, prepare_process

prepare_process()

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdistill.utils.checkpoint import allow_mmengine_checkpoints, load_weights

LISTED = 20  # keys of each kind that are written out


def main() -> None:
    args = parse_args()
    try:
        check_config(args.config)
        check_checkpoint(args.source)
        if args.check is not None and not args.check.is_file():
            raise FileNotFoundError(f'The sweep {str(args.check)!r} of --check does not exist.')
    except FileNotFoundError as error:
        sys.exit(f'FileNotFoundError: {error}')
    cfg = Config.fromfile(args.config)
    init_default_scope(cfg.get('default_scope', 'mmdet3d'))
    allow_mmengine_checkpoints()
    from mmdet3d.registry import MODELS

    from bevfusion.checkpoint import convert_weights
    from bevfusion.encoder_check import check_encoder

    model = MODELS.build(cfg.model)
    try:
        conversion = convert_weights(load_weights(args.source)['state_dict'], model)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'{args.source}: {error}')
    print(describe(conversion, args.source))
    if args.check is not None:
        points = np.fromfile(args.check, np.float32).reshape(-1, args.load_dim)
        points[:, 4:] = 0  # the age of a sweep that stands alone
        print(f'check on {args.check}: {check_encoder(model, torch.from_numpy(points))}')
    if not conversion.is_whole and not args.allow_missing:
        sys.exit(
            f'Nothing was written: the file does not fit {args.config} (see missing, unknown and '
            'other shape above). Name the config it was trained with by --config, or write what '
            'does fit by --allow-missing.'
        )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    meta = {'source': Path(args.source).name, 'naming': conversion.naming}
    torch.save({'meta': meta, 'state_dict': conversion.state_dict}, args.out)
    print(f'{len(conversion.state_dict)} keys written to {args.out}.')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('source', help='path or URL of the published checkpoint')
    parser.add_argument('out', type=Path, help='file to write')
    parser.add_argument(
        '--config',
        default='configs/bevfusion/bevfusion_lidar_teacher.py',
        help='config of the detector (default: %(default)s)',
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


def describe(conversion, source: str) -> str:
    """What became of every key, as text.

    Args:
        conversion (bevfusion.checkpoint.Conversion): the outcome.
        source (str): name of the file.
    """
    mapped = Counter((_part(old), _part(new)) for new, old in conversion.sources.items())
    lines = [
        f'{source}: naming of {conversion.naming}, '
        f'sparse kernels ({") or (".join(conversion.kernel_layouts)})',
        f'mapped ({len(conversion.sources)}):',
        *(f'  {old}.* -> {new}.*: {number}' for (old, new), number in mapped.items()),
    ]
    left = Counter(_part(key) for key in conversion.left_out)
    lines += [f'left out, no part of a LiDAR detector ({len(conversion.left_out)}):']
    lines += [f'  {part}.*: {number}' for part, number in left.items()] or ['  none']
    for title, keys in (
        ('missing in the file', conversion.missing),
        ('unknown to the model', conversion.unknown),
        ('other shape', conversion.mismatched),
    ):
        more = [f'  ... and {len(keys) - LISTED} more'] if len(keys) > LISTED else []
        lines += [f'{title} ({len(keys)}):', *(f'  {key}' for key in keys[:LISTED]), *more]
    if conversion.was_fused:
        lines += [
            'NOTE: this is a LiDAR-camera detector. Its encoder sees points alone and is used as '
            'it is; its backbone, neck and head were trained on fused maps, which a LiDAR '
            'detector does not have. Take them as a start for fine-tuning, not for evaluation '
            'and not as a teacher.'
        ]
    return '\n'.join(lines)


def _part(key: str) -> str:
    """The leading names of a key that say which part of a detector it belongs to."""
    names = key.split('.')
    depth = {'encoders': 3, 'decoder': 2, 'heads': 2}.get(names[0], 1)
    return '.'.join(names[: min(depth, len(names) - 1)])


if __name__ == '__main__':
    main()
