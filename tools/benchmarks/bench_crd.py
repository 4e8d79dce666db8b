"""Measure a CRD step against a plain implementation of the published algorithm.

A step is forward, backward and bank update, of given embeddings. All methods get the same draws,
whose sampling is not measured, and take turns; a ratio is the median over rounds of published /
ours. On a CPU the time is that of the one thread's own work, so that other processes disturb less,
and everything is measured twice, in processes of their own: with the allocator's default, which
returns large temporaries to the system after use, and with heap reuse, which keeps them and spares
the published form its page faults.

Examples:
    python tools/benchmarks/bench_crd.py --update-readme projects/mmdistill/memory/README.md
    python tools/benchmarks/bench_crd.py --plot projects/mmdistill/memory/estimators.png
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])
from tools._start import prepare_process

prepare_process(keep_freed_memory=False)

import torch
from torch import Tensor
from torch.nn import functional as F

from mmdistill.analysis import peak_bytes
from mmdistill.analysis.tables import describe_run, update_readme
from mmdistill.analysis.timing import milliseconds
from mmdistill.memory import ContrastMemory

SIZES = ((4, 28130, 4096), (8, 28130, 16384), (64, 50000, 16384))
EMBED_DIMS, TEMPERATURE, MOMENTUM = 128, 0.07, 0.5
METHODS = {
    'published': 'published: gather, exp, divide',
    'exact': 'exact, same draws',
    'marginal': 'marginal',
    'marginal_bf16': 'marginal, bfloat16 banks',
    'shared': 'shared draws',
}
HEAP_REUSE = {'MALLOC_MMAP_MAX_': '0', 'MALLOC_TRIM_THRESHOLD_': str(1 << 40)}


def main() -> None:
    args = parse_args()
    if args.worker:
        print(json.dumps(WORKERS[args.worker](args)))
        return
    if args.plot:
        plot(measure_estimators(args), args.plot)
        return
    result = {**describe_run(), 'rounds': args.rounds, 'times': {}, 'memory': {}}
    heaps = {'default': {}, 'reuse': HEAP_REUSE}
    if torch.cuda.is_available():
        heaps = {'default': {}}
    for name, settings in heaps.items():
        result['times'][name] = run_worker('time', args, settings)
    for method in METHODS:
        result['memory'][method] = run_worker('memory', args, {}, method=method)
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + '\n')
    table = as_markdown(result)
    print(table)
    if args.update_readme:
        update_readme(args.update_readme, table, marker='bench-crd')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=11, help='how often each method is run')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    parser.add_argument(
        '--update-readme', type=Path, help='Markdown file with <!-- bench-crd --> markers'
    )
    parser.add_argument(
        '--plot', type=Path, help='instead, draw noise and time over K into this PNG file'
    )
    parser.add_argument('--worker', choices=('time', 'memory'), help=argparse.SUPPRESS)
    parser.add_argument('--method', help=argparse.SUPPRESS)
    return parser.parse_args()


def run_worker(
    kind: str, args: argparse.Namespace, settings: dict[str, str], method: str | None = None
) -> Any:
    """Measure in a process of its own, whose allocator starts fresh."""
    command = [sys.executable, __file__, '--worker', kind, '--rounds', str(args.rounds)]
    if method:
        command += ['--method', method]
    env = {**os.environ, **settings}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_times(args: argparse.Namespace) -> list[dict[str, list[float]]]:
    """Milliseconds of each method in each round, for each size."""
    torch.set_num_threads(1)
    results = []
    for size in SIZES:
        problem = Problem(*size)
        steps = {name: problem.step(name) for name in METHODS}
        times: dict[str, list[float]] = {name: [] for name in METHODS}
        for number in range(args.rounds + 2):
            for name, step in steps.items():
                took = timed(step)
                if number >= 2:
                    times[name].append(took)
        results.append(times)
    return results


def measure_memory(args: argparse.Namespace) -> float:
    """Peak MiB that a step of the last size takes beyond banks, draws and embeddings."""
    torch.set_num_threads(1)
    Problem(2, 300, 50).step(args.method)()  # loads what the first step of a process loads
    problem = Problem(*SIZES[-1])
    step = problem.step(args.method)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        torch.cuda.set_sync_debug_mode('error')  # the step must not wait for the device
        step()
        torch.cuda.set_sync_debug_mode('default')
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    return peak_bytes(step) / 2**20


WORKERS: dict[str, Callable[[argparse.Namespace], Any]] = {
    'time': measure_times,
    'memory': measure_memory,
}


class Problem:
    """Embeddings, draws and banks of one size.

    Args:
        batch: ``B``.
        rows: ``N``.
        negatives: ``K``.
        clusters: Banks of so many clusters, as trained embeddings have; 0 for uniform ones.
    """

    def __init__(self, batch: int, rows: int, negatives: int, clusters: int = 0) -> None:
        self.device = 'cuda' if torch.cuda.is_available() else 'cpu'
        torch.manual_seed(0)
        self.sizes = rows, negatives
        self.student, self.teacher = (
            F.normalize(torch.randn(batch, EMBED_DIMS, device=self.device), dim=1).requires_grad_()
            for _ in range(2)
        )
        self.index = torch.randperm(rows)[:batch]
        self.banks = [self._bank(rows, clusters) for _ in range(2)]
        self.redraw()

    def redraw(self) -> None:
        """Draw other negatives, never the own row."""
        rows, negatives = self.sizes
        own = self.index.to(self.device)[:, None]
        draws = torch.randint(rows - 1, (len(self.index), negatives), device=self.device)
        self.draws = draws + (draws >= own)
        self.draws_with_own = torch.cat([own, self.draws], dim=1)

    def step(self, method: str, update: bool = True) -> Callable[[], Tensor]:
        """A function that takes a step and returns the loss; gradients are in the embeddings."""
        rows, negatives = self.sizes
        if method == 'published':
            memory = PublishedMemory(*self.banks)
            run = functools.partial(self._published_loss, memory, update)
        else:
            form, _, dtype = method.partition('_')
            memory = ContrastMemory(
                EMBED_DIMS,
                negatives,
                TEMPERATURE,
                MOMENTUM,
                form=form,
                bank_dtype='bfloat16' if dtype else 'float32',
                num_samples=rows,
            ).to(self.device)
            memory.student_bank.copy_(self.banks[0])
            memory.teacher_bank.copy_(self.banks[1])
            memory.train(update)
            run = functools.partial(self._loss, memory, form)

        def step() -> Tensor:
            self.student.grad = self.teacher.grad = None
            loss = run()
            loss.backward()
            return loss.detach()

        return step

    def _bank(self, rows: int, clusters: int) -> Tensor:
        bank = torch.randn(rows, EMBED_DIMS, device=self.device)
        if clusters:
            centres = 1.5 * torch.randn(clusters, EMBED_DIMS, device=self.device)
            bank += centres[torch.arange(rows, device=self.device) % clusters]
        return F.normalize(bank, dim=1)

    def _loss(self, memory: ContrastMemory, form: str) -> Tensor:
        draws = {'exact': self.draws, 'shared': self.draws[0]}.get(form)
        return memory(self.student, self.teacher, self.index, draws)

    def _published_loss(self, memory: PublishedMemory, update: bool) -> Tensor:
        index = self.index.to(self.device)
        loss = memory.loss(self.student, self.teacher, self.draws_with_own)
        if update:
            memory.update(self.student.detach(), self.teacher.detach(), index)
        return loss


class PublishedMemory:
    """CRD as published, written plainly: gather rows, exponentiate, divide by Z, take logs.

    Source: Tian et al., "Contrastive Representation Distillation", ICLR 2020.

    Args:
        student_bank: ``(N, D)``.
        teacher_bank: ``(N, D)``.
    """

    def __init__(self, student_bank: Tensor, teacher_bank: Tensor) -> None:
        self.banks = [student_bank.clone(), teacher_bank.clone()]
        self.normalisers: list[Tensor | None] = [None, None]

    def loss(self, student: Tensor, teacher: Tensor, draws: Tensor) -> Tensor:
        """Loss of embeddings ``(B, D)`` with rows ``(B, 1 + K)``, the own one first."""
        batch, count = draws.shape
        total = 0.0
        for side, anchors in enumerate((student, teacher)):
            bank = self.banks[1 - side]
            rows = bank.index_select(0, draws.flatten()).view(batch, count, -1)
            out = torch.exp(torch.bmm(rows, anchors[:, :, None]).squeeze(2) / TEMPERATURE)
            if self.normalisers[side] is None:
                self.normalisers[side] = out.detach().mean() * len(bank)
            out = out / self.normalisers[side]
            noise = (count - 1) / len(bank)
            positive = out[:, 0] / (out[:, 0] + noise + 1e-7)
            negative = noise / (out[:, 1:] + noise + 1e-7)
            total = total - (positive.log().sum() + negative.log().sum()) / batch
        return total

    @torch.no_grad()
    def update(self, student: Tensor, teacher: Tensor, index: Tensor) -> None:
        """Move the rows ``index`` ``(B,)`` and scale them to unit length."""
        for bank, new in zip(self.banks, (student, teacher), strict=True):
            moved = MOMENTUM * bank.index_select(0, index) + (1 - MOMENTUM) * new
            bank.index_copy_(0, index, F.normalize(moved, dim=1))


def timed(step: Callable[[], Any]) -> float:
    """Milliseconds of one call."""
    clock, processor = milliseconds(step)
    return clock if torch.cuda.is_available() else processor


def as_markdown(result: dict[str, Any]) -> str:
    """Format times with ratios, and memory, and what they were measured on."""
    lines = [
        f'| B, N, K | {" | ".join(METHODS.values())} |',
        f'|---|{"---:|" * len(METHODS)}',
    ]
    for heap, sizes in result['times'].items():
        for size, times in zip(SIZES, sizes, strict=True):
            cells = [f'{statistics.median(times["published"]):.3g} ms']
            for method in list(METHODS)[1:]:
                middle = statistics.median(times[method])
                cells.append(f'**{ratio(times, method):.1f}x** ({middle:.3g} ms)')
            name = ', '.join(map(str, size)) + (', heap reuse' if heap == 'reuse' else '')
            lines.append(f'| {name} | {" | ".join(cells)} |')
    memory = ' | '.join(f'{result["memory"][method]:.0f} MiB' for method in METHODS)
    lines.append(f'| peak extra memory | {memory} |')
    b, n, k = SIZES[-1]
    lines += [
        '',
        f'`tools/benchmarks/bench_crd.py` at commit {result["commit"]}, D {EMBED_DIMS}, medians of '
        f'{result["rounds"]} interleaved rounds, on {result["date"]}: {result["machine"]}, '
        f'{result["device"]}, torch {result["torch"]}; published / ours (ms of ours). '
        f'Peak memory beyond banks, draws and embeddings at B {b}, N {n}, K {k}. Heap reuse: '
        f'`{" ".join(f"{key}={value}" for key, value in HEAP_REUSE.items())}`.',
        '',
    ]
    return '\n'.join(lines)


def ratio(times: dict[str, list[float]], method: str) -> float:
    """Median over rounds of published / method."""
    pairs = zip(times['published'], times[method], strict=True)
    return statistics.median(published / ours for published, ours in pairs)


def measure_estimators(args: argparse.Namespace) -> dict[str, Any]:
    """Noise of loss and gradient over draws, and time, of each form for several ``K``."""
    torch.set_num_threads(1)
    counts = [2**power for power in range(6, 15, 2)]
    result: dict[str, Any] = {'K': counts, 'time': {}, 'loss': {}, 'gradient': {}}
    for count in counts:
        problem = Problem(8, 28130, count, clusters=50)
        expected = problem.step('marginal', update=False)
        expected_loss, mean = float(expected()), problem.student.grad.clone()
        for method in ('published', 'exact', 'shared', 'marginal'):
            step = problem.step(method, update=False)
            times, losses, errors = [], [], []
            for _ in range(args.rounds):
                problem.redraw()
                times.append(timed(step))
                losses.append(float(step()))
                errors.append(float((problem.student.grad - mean).norm() / mean.norm()))
            noise = statistics.stdev(losses) / expected_loss
            for key, value in (
                ('time', statistics.median(times)),
                ('loss', noise),
                ('gradient', statistics.median(errors)),
            ):
                result[key].setdefault(method, []).append(value)
    return result


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw loss noise, gradient noise and time over ``K``."""
    import matplotlib.pyplot as plt

    titles = {
        'loss': 'loss: standard deviation / mean',
        'gradient': 'gradient: error / length',
        'time': 'ms, forward + backward',
    }
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout='constrained')
    colours = dict(published='C7', exact='C0', shared='C1', marginal='C2')
    for axis, (key, title) in zip(axes, titles.items(), strict=True):
        for method, values in result[key].items():
            if key != 'time' and method in ('published', 'marginal'):
                continue  # the published form draws as exact does; the marginal one does not draw
            axis.plot(result['K'], values, 'o-', color=colours[method], label=method)
        axis.set(title=title, xlabel='K', xscale='log', yscale='log')
        axis.set_xscale('log', base=2)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle('B 8, N 28130, D 128, bank of 50 clusters; the marginal form has no noise')
    figure.savefig(path, dpi=90)


if __name__ == '__main__':
    main()
