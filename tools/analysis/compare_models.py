"""Compare models on the same frames: parameters, MACs, time, memory, and accuracy where known.

Writes a table (Markdown), all numbers (JSON) and, with accuracies, a plot of accuracy over time.

Example:
    python tools/analysis/compare_models.py configs/bevfusion/bevfusion_lidar_teacher.py \
        configs/bevfusion/bevfusion_lidar_student_s.py --points sweep.pcd.bin \
        --results work_dirs/teacher_test work_dirs/student_test --out work_dirs/compare.json
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
from tools._common import check_config, check_data, prepare_process

prepare_process()

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.utils import ProgressBar
from torch import nn

from mmdistill.utils.checkpoint import allow_mmengine_checkpoints
from tools._demo_table import describe_run, update_readme
from tools._run import add_cfg_options
from tools.analysis.comparison import as_markdown, draw, read_result
from tools.analysis.complexity import count
from tools.analysis.memory import peak_bytes

MARKER = 'compare-models'


def main() -> None:
    args = parse_args()
    try:
        for path in args.configs:
            check_config(path)
        configs = [Config.fromfile(path) for path in args.configs]
        for cfg in configs:
            cfg.merge_from_dict(args.cfg_options or {})
        if not args.points:
            check_data(configs[0], loaders=('test_dataloader',))
        accuracies = [read_result(result) for result in args.results or [None] * len(configs)]
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'{type(error).__name__}: {error}')
    allow_mmengine_checkpoints()
    init_default_scope(configs[0].get('default_scope', 'mmdet3d'))
    models = [
        build_model(cfg, checkpoint)
        for cfg, checkpoint in zip(configs, args.checkpoints or [None] * len(configs), strict=True)
    ]
    if args.points:
        batches = [load_sweep(path, args.load_dim) for path in args.points]
    else:
        batches = load_frames(configs[0], args.frames)
    costs = measure(models, batches, args.repeats)
    result: dict[str, Any] = {
        path: {**own, **accuracy}
        for path, own, accuracy in zip(args.configs, costs, accuracies, strict=True)
    }
    frames = f'{len(batches)} frames'
    if args.points:
        frames = ', '.join(path.name for path in args.points)
    run = {**describe_run(), 'frames': frames}
    table = as_markdown(result, run)
    print(f'\n{table}')
    if args.out:
        write(args.out, {**result, 'run': run}, table)
    if args.update_readme:
        update_readme(args.update_readme, table, marker=MARKER)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', help='config files; percentages are of the first')
    parser.add_argument('--checkpoints', nargs='+', help='one checkpoint a config, in their order')
    parser.add_argument(
        '--results',
        nargs='+',
        metavar='PATH',
        help='one a config: the metrics file or work dir of its evaluation by test.py, or -',
    )
    parser.add_argument(
        '--points',
        nargs='+',
        type=Path,
        metavar='SWEEP.bin',
        help="sweeps to run on, as nuScenes stores them; default: the first config's test data",
    )
    parser.add_argument('--load-dim', type=int, default=5, help='numbers per point of a sweep')
    parser.add_argument('--frames', type=int, default=10, help='how many test frames')
    parser.add_argument('--repeats', type=int, default=3, help='how often each is run')
    parser.add_argument(
        '--out', type=Path, help='JSON file to write; the table and the plot go beside it'
    )
    parser.add_argument(
        '--update-readme', type=Path, help=f'Markdown file with <!-- {MARKER} --> markers'
    )
    add_cfg_options(parser, 'entries to override in every config')
    args = parser.parse_args()
    for name in ('checkpoints', 'results'):
        given = getattr(args, name)
        if given and len(given) != len(args.configs):
            parser.error(f'{len(args.configs)} configs but {len(given)} {name}')
    if len(set(args.configs)) < len(args.configs):
        parser.error('a config is named twice')
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


def load_sweep(path: Path, load_dim: int) -> dict[str, Any]:
    """Load one sweep as a batch of one.

    Args:
        path (Path): float32 numbers, ``load_dim`` a point. A fifth is the beam's number in
            nuScenes' files; it becomes 0, the age of a sweep that stands alone.
        load_dim (int): numbers per point.

    Raises:
        ValueError: the file does not hold whole points.
    """
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

    numbers = np.fromfile(path, np.float32)
    if len(numbers) == 0 or len(numbers) % load_dim:
        raise ValueError(f'{path} has {len(numbers)} numbers, no multiple of --load-dim {load_dim}')
    points = torch.from_numpy(numbers.reshape(-1, load_dim))
    points[:, 4:5] = 0
    sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes, sample_idx=0))
    return {'inputs': {'points': [points]}, 'data_samples': [sample]}


def measure(models: Sequence[nn.Module], batches: Sequence[Any], repeats: int) -> list[dict]:
    """What each model costs.

    Args:
        models (Sequence[nn.Module]): in eval mode.
        batches (Sequence): for ``test_step``; all are timed, the first is counted.
        repeats (int): how often each batch is timed.
    """
    costs = []
    for model, measured in zip(models, time_models(models, batches, repeats), strict=True):
        complexity = count(model, batches[0], call=model.test_step)
        times, processor_times = zip(*measured, strict=True)
        quartiles = statistics.quantiles(times, n=4)[::2] if len(times) > 1 else [*times, *times]
        costs.append(
            {
                'params': complexity.params,
                'dense_macs': complexity.dense_macs,
                'sparse_macs': complexity.sparse_macs,
                'macs_by_child': complexity.macs_by_child,
                'ms_per_frame': statistics.median(times),
                'ms_quartiles': quartiles,
                'processor_ms_per_frame': statistics.median(processor_times),
                'frames_timed': len(times),
                'peak_bytes': _peak_bytes(model, batches[0]),
            }
        )
    return costs


@torch.no_grad()
def time_models(
    models: Sequence[nn.Module], batches: Sequence[Any], repeats: int
) -> list[list[tuple[float, float]]]:
    """Time ``test_step`` (voxelisation, network, decoding) of every model on every batch.

    The models take turns on each frame, so that a machine that slows down slows them all; the
    first turn of each is not counted.

    Returns:
        list[list[tuple[float, float]]]: for each model and timed frame, milliseconds on the clock
        and milliseconds that this process had a processor.
    """
    for model in models:
        model.test_step(batches[0])
    times: list[list[tuple[float, float]]] = [[] for _ in models]
    progress = ProgressBar(repeats * len(batches))
    for _ in range(repeats):
        for batch in batches:
            for model, own in zip(models, times, strict=True):
                own.append(_milliseconds(model, batch))
            progress.update()
    print()
    return times


def write(out: Path, result: dict[str, Any], table: str) -> None:
    """Write all numbers, the table and, where accuracies are known, the plot.

    Args:
        out (Path): JSON file; the others have its name with ``.md`` and ``.png``.
        result (dict): costs and accuracies by config.
        table (str): in Markdown.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + '\n')
    out.with_suffix('.md').write_text(table)
    models = {path: row for path, row in result.items() if path != 'run' and 'mAP' in row}
    if models:
        draw(models, out.with_suffix('.png'))


def _milliseconds(model: nn.Module, batch: Any) -> tuple[float, float]:
    _synchronize()
    began = time.perf_counter(), time.process_time()
    model.test_step(batch)
    _synchronize()
    ended = time.perf_counter(), time.process_time()
    return tuple(1000 * (b - a) for a, b in zip(began, ended, strict=True))


@torch.no_grad()
def _peak_bytes(model: nn.Module, batch: Any) -> int | None:
    """Weights and buffers of a model, and what its ``test_step`` adds to them at most."""
    added = peak_bytes(lambda: model.test_step(batch))
    own = [*model.parameters(), *model.buffers()]
    return None if added is None else added + sum(t.numel() * t.element_size() for t in own)


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == '__main__':
    main()
