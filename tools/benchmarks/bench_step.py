"""Measure what a distillation step costs beside the student's step and the teacher's forward pass.

The three are run in turn on the same batches, so that a busy machine slows all alike; medians are
printed, and the median over the batches of the ratio step / (student + teacher), which should stay
below 1. With one thread the times are the processor's, so that other processes disturb less. With
``--before`` the step takes a turn more, in which teacher, student and links share no more than the
voxels. Peak memory is taken from further processes, each of which runs one part alone. With
``--frame`` the batch is one frame of an info file, so that a full-size config is measured without
its data set.

Example:
    python tools/benchmarks/bench_step.py configs/distill/bevfusion_best_mini.py --before
    python tools/benchmarks/bench_step.py configs/distill/bevfusion_crd.py \
        --frame ../shared/data/nuscenes/n015-2018-07-24-11-22-45+0800.pkl --steps 2 --warm-up 1
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path[0] = str(Path(__file__).resolve().parents[2])
from tools._start import prepare_process

prepare_process()

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from mmdistill import read_student_config
from mmdistill.analysis.memory import resident_bytes
from mmdistill.analysis.tables import describe_run, update_readme
from mmdistill.analysis.timing import milliseconds
from mmdistill.apis import add_cfg_options, check_data, load_config
from mmdistill.memo import directly
from mmdistill.utils.dataset import original_length
from mmdistill3d.analysis.sweeps import load_frame

LABELS = {
    'voxels': 'voxelisation, done once where teacher and student share it',
    'student': "the student's step alone",
    'teacher': "the teacher's forward pass to its last linked layer",
    'distillation': 'the distillation step',
    'before': 'the distillation step that shares voxels alone',
}
RATIOS = {'distillation': 'ratio', 'before': 'ratio_before'}
MIB = 2**20


def main() -> None:
    args = parse_args()
    cfg = read_config(args)
    if args.memory_of:
        print(json.dumps(peak_memory(cfg, args)))
        return
    batches, num_samples = open_batches(cfg, args.frame)
    parts = build_parts(cfg, num_samples)
    if args.before:
        parts['before'] = sharing_voxels_alone(parts['distillation'])
    times = measure(parts, batches, args.steps, args.warm_up)
    models = () if args.no_memory else ('student', 'teacher', 'distillation')
    memory = {name: memory_alone(name) for name in models}
    result = summarize(cfg, args, times, memory)
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + '\n')
    table = as_markdown(result, times)
    print(table)
    if args.update_readme:
        marker = 'bench-full-step' if args.frame else 'bench-step'
        update_readme(args.update_readme, table, marker=marker)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='a distillation config with one teacher')
    parser.add_argument('--steps', type=int, default=12, help='how often each part is timed')
    parser.add_argument('--warm-up', type=int, default=2, help='how often before that; at least 1')
    parser.add_argument(
        '--frame', type=Path, help='info file whose first frame is the batch; its points lie beside'
    )
    parser.add_argument(
        '--before', action='store_true', help='also time the step that shares voxels alone'
    )
    parser.add_argument('--no-memory', action='store_true', help='times alone')
    parser.add_argument('--memory-of', choices=LABELS, help=argparse.SUPPRESS)
    parser.add_argument('--out', type=Path, help='JSON file to write')
    parser.add_argument(
        '--update-readme',
        type=Path,
        help='Markdown file with <!-- bench-step --> markers; bench-full-step with --frame',
    )
    add_cfg_options(parser)
    return parser.parse_args()


def read_config(args: argparse.Namespace) -> Config:
    """The config with a teacher of random weights: a step takes the same time with them."""
    cfg = load_config(args.config, args.cfg_options)
    if args.frame is None:
        check_data(cfg, loaders=('train_dataloader',))
    init_default_scope(cfg.get('default_scope', 'mmdet3d'))
    cfg.model.teacher.update(checkpoint=None, allow_random_weights=True)
    return cfg


def open_batches(cfg: Config, frame: Path | None) -> tuple[Iterator[dict], int]:
    """Raw batches without end, and the length of the data set they are from."""
    if frame is None:
        loader = Runner.build_dataloader(cfg.train_dataloader)
        return _endless(loader), original_length(loader.dataset)
    sample = load_frame(cfg, frame)
    return _endless([pseudo_collate([sample])]), 1


def build_distiller(cfg: Config, num_samples: int) -> Any:
    """The config's distiller in training mode on this machine's device."""
    distiller = MODELS.build(cfg.model)
    distiller.init_weights()
    distiller.prepare(num_samples=num_samples)
    return distiller.to(get_device()).train()


def build_parts(
    cfg: Config, num_samples: int, only: str | None = None
) -> dict[str, Callable[[dict], Any]]:
    """The parts to measure by name, each a function of a raw batch.

    Args:
        cfg: A distillation config with one teacher.
        num_samples: Length of the data set, for memory banks.
        only: Build what this part needs, and no more.
    """
    if only == 'student':
        student = (
            MODELS.build(read_student_config(cfg.model.student).model).to(get_device()).train()
        )
        return {'student': _step_of(student, cfg)}
    distiller = build_distiller(cfg, num_samples)
    (teacher,) = distiller.teachers.values()

    def run_teacher(batch: dict) -> None:
        data = distiller.data_preprocessor(batch, True)
        own = data.pop('teacher_data', {})
        with teacher.run(**own.get(teacher.name, data)):
            pass

    def voxelize(batch: dict) -> None:
        distiller.student.voxelize(distiller.data_preprocessor(batch, True)['inputs']['points'])

    parts: dict[str, Callable[[dict], Any]] = {}
    if hasattr(distiller.student, 'voxelize'):
        parts['voxels'] = voxelize
    if only is None:
        parts['student'] = _step_of(distiller.student, cfg)
    parts['teacher'] = run_teacher
    if only in (None, 'distillation'):
        parts['distillation'] = _step_of(distiller, cfg)
    return parts


def sharing_voxels_alone(step: Callable[[dict], Any]) -> Callable[[dict], Any]:
    """The step that finds each rulebook for each model, and draws for each link."""

    def run(batch: dict) -> None:
        with (
            patch('mmdistill.distiller.shared_rulebooks', contextlib.nullcontext),
            patch('mmdistill.step.Memo', lambda: directly),
        ):
            step(batch)

    return run


def measure(
    parts: dict[str, Callable[[dict], Any]], batches: Iterator[dict], repeats: int, warm_up: int
) -> dict[str, list[float]]:
    """Milliseconds of each part on each of ``repeats`` batches, behind ``warm_up`` others."""
    times: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(warm_up + repeats):
        batch = next(batches)
        for name, run in parts.items():
            clock, processor = milliseconds(partial(run, batch))
            took = processor if torch.get_num_threads() == 1 and not _on_cuda() else clock
            if number >= warm_up:
                times[name].append(took)
    return times


def memory_alone(part: str) -> float:
    """Peak memory in MiB of a fresh process that runs one part; see :func:`peak_memory`."""
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], '--memory-of', part]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory(cfg: Config, args: argparse.Namespace) -> float:
    """Peak memory of two runs of a part in MiB.

    On CUDA it is what torch has allocated, models included. On the CPU it is the peak of this
    process's resident memory less what it held before the models were built, so the interpreter,
    its libraries and the data set do not count.
    """
    batches, num_samples = open_batches(cfg, args.frame)
    batch = next(batches)
    before = resident_bytes()
    run = build_parts(cfg, num_samples, only=args.memory_of)[args.memory_of]
    for _ in range(2):
        run(batch)
    if _on_cuda():
        return torch.cuda.max_memory_allocated() / MIB
    return (resident_bytes(peak=True) - before) / MIB


def summarize(
    cfg: Config,
    args: argparse.Namespace,
    times: dict[str, list[float]],
    memory: dict[str, float],
) -> dict[str, Any]:
    """What is written as JSON."""
    result: dict[str, Any] = {**describe_run(), 'command': ' '.join(_shown_arguments(args))}
    result['batch_size'] = 1 if args.frame else cfg.train_dataloader.batch_size
    result |= {f'{name}_ms': statistics.median(values) for name, values in times.items()}
    result |= {f'{name}_mib': value for name, value in memory.items()}
    for part in RATIOS:
        if part in times:
            rounds = zip(times[part], times['student'], times['teacher'], strict=True)
            ratios = [step / (student + teacher) for step, student, teacher in rounds]
            result[RATIOS[part]] = statistics.median(ratios)
    return result


def as_markdown(result: dict[str, Any], times: dict[str, list[float]]) -> str:
    """Format medians and quartiles, peak memory, and what they were measured on."""
    has_memory = 'distillation_mib' in result
    lines = ['| part | ms, median (quartiles) |', '|---|---:|']
    if has_memory:
        lines = ['| part | ms, median (quartiles) | peak memory, MiB |', '|---|---:|---:|']
    for name, values in times.items():
        used = f'{result[f"{name}_mib"]:.0f}' if f'{name}_mib' in result else ''
        memory = f' {used} |' if has_memory else ''
        lines.append(f'| {LABELS[name]} | {_median(values)} |{memory}')
    ratios = [('distillation', result['ratio'])]
    if 'ratio_before' in result:
        ratios.append(('sharing voxels alone', result['ratio_before']))
    lines += [
        f'| **ratio**: {name} / (student + teacher) | {ratio:.3f} |' + (' |' if has_memory else '')
        for name, ratio in ratios
    ]
    rounds = len(times['distillation'])
    note = f' {rounds} rounds; times of the processor.' if torch.get_num_threads() == 1 else ''
    lines += [
        '',
        f'`tools/benchmarks/bench_step.py {result["command"]}` at commit {result["commit"]}, batch '
        f'of {result["batch_size"]}, on {result["date"]}: {result["machine"]}, '
        f'{result["device"]}, torch {result["torch"]}.{note}',
        '',
    ]
    return '\n'.join(lines)


def _step_of(model: Any, cfg: Config) -> Callable[[dict], Any]:
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    return lambda batch: model.train_step(batch, optimizer)


def _on_cuda() -> bool:
    return torch.cuda.is_available()


def _endless(batches: Any) -> Iterator[dict]:
    while True:
        yield from batches


def _median(values: list[float]) -> str:
    if len(values) < 4:
        return f'{statistics.median(values):.0f} ({min(values):.0f} .. {max(values):.0f})'
    low, middle, high = statistics.quantiles(values, n=4)
    return f'{middle:.0f} ({low:.0f} .. {high:.0f})'


def _shown_arguments(args: argparse.Namespace) -> list[str]:
    frame = ['--frame', args.frame.name] if args.frame else []
    options = [f'{key}={value}' for key, value in (args.cfg_options or {}).items()]
    before = ['--before'] if args.before else []
    return [args.config, *frame, *before, *(['--cfg-options', *options] if options else [])]


if __name__ == '__main__':
    main()
