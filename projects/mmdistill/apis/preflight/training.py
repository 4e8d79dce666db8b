"""Is a step finite, do its gradients arrive, and what will the run take?"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner

from mmdistill.analysis.memory import resident_bytes
from mmdistill.analysis.timing import Stopwatch
from mmdistill.apis.preflight.findings import Finding, Skip, failed, ok, warning
from mmdistill.apis.preflight.state import State
from mmdistill.distiller import LOSS_PREFIX, Distiller
from mmdistill.utils.dataset import number_samples

SECONDS = 30.0
STEPS = 6
TRIES_WITH_AMP = 8
MADE_UP_LENGTH = 1000  # of the data set, for memory banks, where there is none
GIB = 2**30


def check_step(state: State) -> Iterator[Finding]:
    """One optimisation step at each point of training at which another link sets in."""
    model = state.built_model()
    model.init_weights()
    model.to(state.device).train()
    batch, _, what = training_batch(state, 1)
    state.optimizer, note = build_optimizer(state)
    if note:
        yield note
    prepare(state)
    for progress in points_of_progress(state):
        if isinstance(model, Distiller):
            model.progress = progress
        with state.first_step.running():
            losses, unused = run_step(state, batch)
        yield from _losses(losses, progress, what)
        yield from _gradients(model, unused)
        yield from _links(model, losses)


def check_cost(state: State) -> Iterator[Finding]:
    """Memory and time of the whole run, from timed steps."""
    if state.optimizer is None:
        raise Skip('no step could be made')
    batch_size = state.loader('train').get('batch_size', 1)
    first = state.first_step.seconds
    fits = state.device != 'cpu' or first * batch_size * 2 < SECONDS
    size = batch_size if fits else 1
    batch, size, what = training_batch(state, size)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        step_s = time_steps(state, batch)
    except torch.cuda.OutOfMemoryError as error:
        yield failed(
            f'a batch of {size} does not fit the device: {str(error).splitlines()[0]}',
            'Lower train_dataloader.batch_size (with --auto-scale-lr), or train with --amp.',
        )
        return
    note = '' if fits else f', from a single sample times {batch_size}'
    yield _memory(size, what)
    yield _time(state, step_s * batch_size / size, f'{what}{note}')


def training_batch(state: State, count: int) -> tuple[Callable[[], Any], int, str]:
    """What gives a raw batch of the first samples, or of made-up ones; how many; what they are."""
    if 'train' in state.datasets:
        dataset = state.datasets['train']
        samples = [dataset[i % len(dataset)] for i in range(count)]
        return lambda: state.collate(samples), count, f'batch of {count}'
    batch = state.domain.made_up_batch(state, count)
    size = len(batch.get('data_samples') or ()) or count
    return lambda: copy.deepcopy(batch), size, f'made-up batch of {size}'


def build_optimizer(state: State) -> tuple[Any, Finding | None]:
    """The config's optimizer; mixed precision only where the device has it."""
    cfg = copy.deepcopy(state.cfg.optim_wrapper)
    if cfg.get('type') == 'AmpOptimWrapper' and state.device == 'cpu':
        cfg.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            cfg.pop(key, None)
        note = warning(
            "mixed precision is checked in single precision: MMEngine's needs a GPU",
            'Run this on the machine that will train.',
        )
        return build_optim_wrapper(state.model, cfg), note
    return build_optim_wrapper(state.model, cfg), None


def prepare(state: State) -> None:
    """Size the memories of the data set, as DistillHook does before training."""
    model = state.model
    if isinstance(model, Distiller) and model.keeps_memory():
        train = state.datasets.get('train')
        model.prepare(num_samples=number_samples(train) if train is not None else MADE_UP_LENGTH)
        model.to(state.device)


def points_of_progress(state: State) -> list[tuple[int, int]]:
    """(epoch, iteration) pairs at which, together, every link has a weight above zero."""
    if not isinstance(state.model, Distiller):
        return [(0, 0)]
    epochs = state.cfg.train_cfg.get('max_epochs') or 1
    iterations = iterations_of_run(state) or epochs
    grid = [(int(epochs * k / 20), int(iterations * k / 20)) for k in range(20)]
    points, waiting = [], set(state.model.links)
    for point in grid:
        new = {name for name in waiting if state.model.links[name].weight_at(*point)}
        if new or not points:
            points.append(point)
            waiting -= new
    return points


def run_step(state: State, batch: Callable[[], Any]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """One optimisation step; returns its losses and the parameters that got no gradient.

    With a dynamic loss scale the first steps overflow by design: they are repeated while the
    scale falls.

    Raises:
        FloatingPointError: A loss or a gradient is not finite.
    """
    model, optimizer = state.model, state.optimizer
    tries = TRIES_WITH_AMP if hasattr(optimizer, 'loss_scaler') else 1
    for _ in range(tries):
        data = model.data_preprocessor(batch(), True)
        with optimizer.optim_context(model):
            losses = model._run_forward(data, mode='loss')
        total, values = model.parse_losses(losses)
        _require_finite(values)
        optimizer.backward(total)
        trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        unused = [name for name, p in trained if p.grad is None]
        broken = [name for name, p in trained if p.grad is not None and not p.grad.isfinite().all()]
        optimizer.step()
        optimizer.zero_grad()
        if not broken:
            return values, unused
    raise FloatingPointError(
        f'{len(broken)} parameters have gradients that are not finite, the first is {broken[0]}\n'
        'Switch the losses off in turn (model.links.NAME.weight=0) to find the one that makes them.'
    )


def time_steps(state: State, batch: Callable[[], Any]) -> float:
    """Median seconds of a step, over as many steps as fit the time."""
    seconds, start = [], time.perf_counter()
    while len(seconds) < STEPS:
        watch = Stopwatch()
        with watch.running():
            run_step(state, batch)
        seconds.append(watch.seconds)
        if time.perf_counter() - start + watch.seconds > SECONDS:
            break
    return statistics.median(seconds[1:] or seconds)  # the first one warms up


def iterations_of_run(state: State) -> int | None:
    """Training steps of the whole run on this device alone; None without the data set."""
    train_cfg = state.cfg.train_cfg
    if train_cfg.get('max_iters'):
        return train_cfg.max_iters
    if 'train' not in state.datasets:
        return None
    cfg = copy.deepcopy(state.loader('train'))
    cfg.update(dataset=state.datasets['train'], num_workers=0, persistent_workers=False)
    cfg.pop('prefetch_factor', None)
    return len(Runner.build_dataloader(cfg)) * train_cfg.max_epochs


def _require_finite(losses: dict[str, torch.Tensor]) -> None:
    broken = [name for name, value in losses.items() if not torch.as_tensor(value).isfinite().all()]
    if broken:
        raise FloatingPointError(
            f'losses that are not finite: {", ".join(name for name in broken if name != "loss")}\n'
            'Lower their weights, or look at what they read: tools/list_layers.py CONFIG.'
        )


def _losses(
    losses: dict[str, torch.Tensor], progress: tuple[int, int], what: str
) -> Iterator[Finding]:
    parts = ', '.join(
        f'{name} {float(value):.3g}'
        for name, value in losses.items()
        if name != 'loss' and 'loss' in name
    )
    at = f' at epoch {progress[0] + 1}' if progress != (0, 0) else ''
    yield ok(f'{what}{at}: loss {float(losses["loss"]):.3g} ({parts}), gradients finite')


def _gradients(model: Any, unused: list[str]) -> Iterator[Finding]:
    trained = sum(p.requires_grad for p in model.parameters())
    if len(unused) == trained:
        yield failed('no parameter has got a gradient', 'The losses do not depend on the model.')
    elif unused:
        yield warning(
            f'{len(unused)} of {trained} parameters get no gradient, the first is {unused[0]}',
            'Several processes then need find_unused_parameters=True in the config.',
        )


def _links(model: Any, losses: dict[str, torch.Tensor]) -> Iterator[Finding]:
    if not isinstance(model, Distiller):
        return
    weights = model.link_weights()
    for name, link in model.links.items():
        if not weights[name]:
            continue
        value = float(losses[LOSS_PREFIX + name])
        text = f'link {name}: {link.student} <- {link.teacher}, {value:.4g}'
        if value == 0:
            yield warning(text, 'A loss of zero teaches nothing; are its inputs empty or equal?')
        else:
            yield ok(text)


def _memory(size: int, what: str) -> Finding:
    if not torch.cuda.is_available():
        peak = resident_bytes(peak=True)
        return ok(f'memory: {peak / GIB:.1f} GiB at the most in this process ({what}, CPU)')
    peak = torch.cuda.max_memory_reserved()
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    text = f'memory: {peak / GIB:.1f} of {total / GIB:.0f} GiB of the GPU ({what})'
    if peak > 0.9 * total:
        return warning(
            text, 'Frames with more points need more: lower train_dataloader.batch_size, or --amp.'
        )
    return ok(text)


def _time(state: State, step_s: float, what: str) -> Finding:
    loader = state.loader('train')
    iterations = iterations_of_run(state)
    text = f'time: {step_s:.3g} s a step ({what})'
    if iterations is None:
        return ok(f'{text}; the length of the run is unknown without the data set')
    workers = loader.get('num_workers', 0)
    load_s = state.sample_s.get('train', 0.0) * loader.get('batch_size', 1) / max(workers, 1)
    iteration_s = max(step_s, load_s) if workers else step_s + load_s
    hours = iterations * iteration_s / 3600
    length = f'{hours:.1f} hours' if hours >= 1 else f'{60 * hours:.0f} minutes'
    text += f', {load_s:.3g} s for its samples; {iterations} steps on one device: {length}'
    if load_s > step_s:
        return warning(
            text,
            'Loading is what takes the time: raise train_dataloader.num_workers, or move the data '
            'to a faster disk.',
        )
    return ok(text)
