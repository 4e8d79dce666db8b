"""Compare what models cost on the same frames: parameters, MACs, milliseconds per frame.

Example:
    python tools/analysis/compare_models.py configs/bevfusion/bevfusion_lidar_teacher_mini.py \
        configs/bevfusion/bevfusion_lidar_student_mini.py --out work_dirs/compare.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])
from tools._common import check_data, prepare_process

prepare_process()

import torch
from mmengine.config import Config, DictAction
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.utils import ProgressBar
from torch import nn

from mmdistill.utils.checkpoint import allow_mmengine_checkpoints
from tools.analysis.complexity import count


def main() -> None:
    args = parse_args()
    configs = [Config.fromfile(path) for path in args.configs]
    for cfg in configs:
        cfg.merge_from_dict(args.cfg_options or {})
    check_data(configs[0], loaders=('test_dataloader',))
    allow_mmengine_checkpoints()
    init_default_scope(configs[0].get('default_scope', 'mmdet3d'))
    models = [
        build_model(cfg, checkpoint)
        for cfg, checkpoint in zip(configs, args.checkpoints or [None] * len(configs), strict=True)
    ]
    batches = load_frames(configs[0], args.frames)
    milliseconds = time_models(models, batches, args.repeats)
    result = {}
    for path, model, times in zip(args.configs, models, milliseconds, strict=True):
        complexity = count(model, batches[0], call=model.test_step)
        result[path] = {
            'params': complexity.params,
            'dense_macs': complexity.dense_macs,
            'sparse_macs': complexity.sparse_macs,
            'macs_by_child': complexity.macs_by_child,
            'ms_per_frame': statistics.median(times),
            'ms_quartiles': statistics.quantiles(times, n=4)[::2] if len(times) > 1 else times * 2,
            'frames_timed': len(times),
        }
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2) + '\n')
    for path, costs in result.items():
        macs = costs['dense_macs'] + costs['sparse_macs']
        print(
            f'{path}: {costs["params"] / 1e6:.3f} M parameters, {macs / 1e9:.2f} GMACs, '
            f'{costs["ms_per_frame"]:.1f} ms per frame'
        )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', help='config files; the first names the frames')
    parser.add_argument('--checkpoints', nargs='+', help='one checkpoint a config, in their order')
    parser.add_argument('--frames', type=int, default=10, help='how many test frames')
    parser.add_argument('--repeats', type=int, default=3, help='how often each is run')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='entries to override in every config',
    )
    args = parser.parse_args()
    if args.checkpoints and len(args.checkpoints) != len(args.configs):
        parser.error(f'{len(args.configs)} configs but {len(args.checkpoints)} checkpoints')
    return args


def build_model(cfg: Config, checkpoint: str | None) -> nn.Module:
    """Build a config's model for evaluation on this machine's device.

    Args:
        cfg (Config): its ``model`` is built.
        checkpoint (str, optional): weights to load, strictly.
    """
    from mmdet3d.registry import MODELS

    model = MODELS.build(cfg.model)
    if checkpoint is not None:
        load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
    return model.to(get_device()).eval()


def load_frames(cfg: Config, frames: int) -> list[dict[str, Any]]:
    """Load frames spread evenly over a config's test data, as batches of one.

    Args:
        cfg (Config): its ``test_dataloader.dataset`` is built.
        frames (int): how many; all of them where there are fewer.
    """
    from mmdet3d.registry import DATASETS

    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    number = min(frames, len(dataset))
    indices = [round(i * (len(dataset) - 1) / max(number - 1, 1)) for i in range(number)]
    return [pseudo_collate([dataset[index]]) for index in indices]


@torch.no_grad()
def time_models(
    models: Sequence[nn.Module], batches: Sequence[Any], repeats: int
) -> list[list[float]]:
    """Time ``test_step`` (voxelisation, network, decoding) of every model on every batch.

    The models take turns on each frame, so that a machine that slows down slows them all; the
    first turn of each is not counted.

    Returns:
        list[list[float]]: for each model, milliseconds for each timed frame.
    """
    for model in models:
        model.test_step(batches[0])
    times: list[list[float]] = [[] for _ in models]
    progress = ProgressBar(repeats * len(batches))
    for _ in range(repeats):
        for batch in batches:
            for model, own in zip(models, times, strict=True):
                own.append(_milliseconds(model, batch))
            progress.update()
    print()
    return times


def _milliseconds(model: nn.Module, batch: Any) -> float:
    _synchronize()
    began = time.perf_counter()
    model.test_step(batch)
    _synchronize()
    return 1000 * (time.perf_counter() - began)


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == '__main__':
    main()
