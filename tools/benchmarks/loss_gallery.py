"""Write the gallery of losses: family, paper, what each takes, and what it costs beside MSE.

The table is made from the registry and the docstrings, so it cannot go stale. Each loss runs
forward and backward on a map (2, 256, 180, 180), as of BEVFusion's neck for two frames, in turn
with an MSE on the same map; losses of sparse voxels or of heads run on what they take, at full
scale.

Example:
    python tools/benchmarks/loss_gallery.py --update-readme projects/mmdistill/losses/README.md
"""

from __future__ import annotations

import argparse
import inspect
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])
from tools._start import prepare_process

prepare_process()

import torch
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor
from torch.nn import functional as F

import mmdistill3d  # noqa: F401  (registers)
from mmdistill.analysis.tables import describe_run, update_readme
from tools.benchmarks.loss_inputs import CASES, Case, default_case

PACKAGES = ('mmdistill.losses', 'mmdistill3d.losses')


def main() -> None:
    args = parse_args()
    init_default_scope('mmdet3d')
    names = args.losses or registered_losses()
    rows = [describe(name, measure(name, args)) for name in names]
    table = as_markdown(rows, args)
    print(table)
    if args.update_readme:
        update_readme(args.update_readme, table, marker='gallery')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('losses', nargs='*', help='names in MODELS; all of ours by default')
    parser.add_argument('--repeats', type=int, default=5, help='timed runs of each, after one more')
    parser.add_argument('--size', type=int, nargs=4, default=[2, 256, 180, 180])
    parser.add_argument(
        '--update-readme', type=Path, help='Markdown file with <!-- gallery --> markers'
    )
    return parser.parse_args()


def registered_losses() -> list[str]:
    """Names of our losses in the registry, by family and then by name."""
    found = [
        (cls.__module__, name)
        for name, cls in MODELS.module_dict.items()
        if cls.__module__.startswith(PACKAGES)
    ]
    return [name for _, name in sorted(found)]


def measure(name: str, args: argparse.Namespace) -> tuple[str, float, float]:
    """Return the input in words, and the medians of the loss's and of MSE's milliseconds."""
    torch.manual_seed(0)
    case: Case = CASES.get(name, default_case)(tuple(args.size))
    loss = MODELS.build({'type': name, **case.config}).train()
    case.prepare(loss)
    student, teacher = (torch.randn(*args.size) for _ in range(2))
    student.requires_grad_()

    def run_loss() -> None:
        backward(loss(case.student, case.teacher, **case.context))

    def run_mse() -> None:
        backward(F.mse_loss(student, teacher))

    times: dict[Callable[[], None], list[float]] = {run_loss: [], run_mse: []}
    for number in range(args.repeats + 1):
        for run, own in times.items():
            began = time.perf_counter()
            run()
            if number:
                own.append(1000 * (time.perf_counter() - began))
    return (case.what, *(statistics.median(own) for own in times.values()))


def backward(loss: Tensor) -> None:
    loss.backward()


def describe(name: str, measured: tuple[str, float, float]) -> dict[str, Any]:
    """Gather a row: what the docstring and the module say, and what was measured.

    Raises:
        ValueError: The docstring names no paper or does not say what the loss takes.
    """
    cls = MODELS.get(name)
    what, loss_ms, mse_ms = measured
    return {
        'name': name,
        'family': cls.__module__.rsplit('.', 1)[-1].replace('_', ' '),
        'paper': paragraph(cls, 'Source'),
        'takes': paragraph(cls, 'Takes'),
        'what': what,
        'ms': loss_ms,
        'ratio': loss_ms / mse_ms,
    }


def paragraph(cls: type, title: str) -> str:
    """Return what a docstring's ``title:`` paragraph says, on one line.

    Raises:
        ValueError: The class has no such paragraph.
    """
    found = re.search(rf'^{title}: (.+?)(?:\n\s*\n|\Z)', inspect.getdoc(cls) or '', re.M | re.S)
    if found is None:
        raise ValueError(f'the docstring of {cls.__name__} has no paragraph "{title}: ..."')
    text = ' '.join(found[1].split())
    text = re.sub(r':\w+:`~?([\w.]+)`', lambda m: f'`{m[1].rsplit(".", 1)[-1]}`', text)
    return text.replace('``', '`').rstrip('.')


def as_markdown(rows: list[dict[str, Any]], args: argparse.Namespace) -> str:
    lines = ['| loss | family | paper | takes | ms | x MSE |', '|---|---|---|---|---:|---:|']
    for row in rows:
        note = f' on {row["what"]}' if row['what'] else ''
        lines.append(
            f'| `{row["name"]}` | {row["family"]} | {row["paper"]} | {row["takes"]} '
            f'| {row["ms"]:.0f}{note} | {row["ratio"]:.1f} |'
        )
    run = describe_run()
    lines += [
        '',
        f'Forward and backward on maps {tuple(args.size)} where nothing else is said, medians of '
        f'{args.repeats}, in turn with an MSE between two such maps; by '
        f'`tools/benchmarks/loss_gallery.py` at commit {run["commit"]} on {run["date"]}: '
        f'{run["machine"]}, {run["device"]}, torch {run["torch"]}.',
        '',
    ]
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
