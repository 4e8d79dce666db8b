"""Measure what a distillation step costs beside the student's step and the teacher's forward pass.

The three are run in turn on the same batches, so that a busy machine slows all alike; medians are
printed with their ratio step / (student + teacher), which should stay near 1.

Example:
    python tools/benchmarks/bench_step.py configs/distill/bevfusion_crd_mini.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])
from tools._common import check_data, prepare_process

prepare_process()

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from mmdistill.utils.dataset import original_length
from tools._demo_table import describe_run, update_readme


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    check_data(cfg, loaders=('train_dataloader',))
    init_default_scope(cfg.get('default_scope', 'mmdet3d'))
    # The time of a step does not depend on what the teacher has learned.
    cfg.model.teacher.update(checkpoint=None, allow_random_weights=True)
    loader = Runner.build_dataloader(cfg.train_dataloader)
    distiller = MODELS.build(cfg.model).to(get_device()).train()
    distiller.prepare(num_samples=original_length(loader.dataset))
    times = measure(steps(distiller, cfg), distiller, loader, args.steps)
    result = {**describe_run(), 'config': args.config, 'batch_size': loader.batch_size}
    result |= {name: statistics.median(values) for name, values in times.items()}
    result['ratio'] = result['distillation_ms'] / (result['student_ms'] + result['teacher_ms'])
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + '\n')
    table = as_markdown(result, times)
    print(table)
    if args.update_readme:
        update_readme(args.update_readme, table, marker='bench-step')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='a distillation config with one teacher')
    parser.add_argument('--steps', type=int, default=12, help='how often each part is run')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    parser.add_argument(
        '--update-readme', type=Path, help='Markdown file with <!-- bench-step --> markers'
    )
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE')
    return parser.parse_args()


def steps(distiller: Any, cfg: Config) -> dict[str, Callable[[dict], None]]:
    """The parts to measure, each a function of a raw batch."""
    optimizers = {
        model: build_optim_wrapper(model, cfg.optim_wrapper)
        for model in (distiller, distiller.student)
    }
    (teacher,) = distiller.teachers.values()

    def run_teacher(batch: dict) -> None:
        data = distiller.data_preprocessor(batch, True)
        own = data.pop('teacher_data', {})
        with teacher.run(**own.get(teacher.name, data)):
            pass

    parts: dict[str, Callable[[dict], None]] = {}
    if hasattr(distiller.student, 'voxelize'):

        def voxelize(batch: dict) -> None:
            distiller.student.voxelize(distiller.data_preprocessor(batch, True)['inputs']['points'])

        parts['voxels_ms'] = voxelize
    return {
        **parts,
        'student_ms': lambda batch: distiller.student.train_step(
            batch, optimizers[distiller.student]
        ),
        'teacher_ms': run_teacher,
        'distillation_ms': lambda batch: distiller.train_step(batch, optimizers[distiller]),
    }


def measure(
    parts: dict[str, Callable[[dict], None]], distiller: Any, loader: Any, repeats: int
) -> dict[str, list[float]]:
    """Milliseconds of each part on each of ``repeats`` batches; the first two warm up."""
    times: dict[str, list[float]] = {name: [] for name in parts}
    batches = iter(loader)
    for number in range(repeats + 2):
        batch = next(batches)
        for name, run in parts.items():
            synchronize()
            start = time.perf_counter()
            run(batch)
            synchronize()
            if number >= 2:
                times[name].append(1000 * (time.perf_counter() - start))
    return times


def as_markdown(result: dict[str, Any], times: dict[str, list[float]]) -> str:
    """Format medians and quartiles, and what they were measured on."""
    labels = {
        'voxels_ms': 'voxelisation, done once where teacher and student share it',
        'student_ms': "the student's step alone",
        'teacher_ms': "the teacher's forward pass to its last linked layer",
        'distillation_ms': 'the distillation step',
    }
    lines = ['| part | ms, median (quartiles) |', '|---|---:|']
    for name, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4)
        lines.append(f'| {labels[name]} | {middle:.0f} ({low:.0f} .. {high:.0f}) |')
    lines += [
        f'| **ratio**: distillation / (student + teacher) | {result["ratio"]:.3f} |',
        '',
        f'`tools/benchmarks/bench_step.py {result["config"]}` at commit {result["commit"]}, '
        'batch of '
        f'{result["batch_size"]}, on {result["date"]}: {result["machine"]}, {result["device"]}, '
        f'torch {result["torch"]}.',
        '',
    ]
    return '\n'.join(lines)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == '__main__':
    main()
