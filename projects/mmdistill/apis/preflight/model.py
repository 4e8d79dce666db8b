"""Does the model build, and do its weights load?"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from mmengine.model import BaseModel
from mmengine.registry import HOOKS, METRICS, MODELS
from torch import nn

from mmdistill import Distiller
from mmdistill.apis.checks import check_checkpoint, check_teachers
from mmdistill.apis.preflight.findings import Finding, failed, ok, warning
from mmdistill.apis.preflight.state import State
from mmdistill.checkpoints import compare, for_plain_model, weights_of
from mmdistill.utils.checkpoint import load_weights


def check_model(state: State) -> Iterator[Finding]:
    """The model builds from the config; its teachers take their weights in the next check."""
    model = MODELS.build(copy.deepcopy(state.cfg.model))
    state.model = model
    if not isinstance(model, Distiller):
        yield ok(f'{type(model).__name__}, {_millions(model)}')
        return
    teachers = ', '.join(
        f'{name} {type(teacher.model).__name__}, {_millions(teacher.model)}'
        for name, teacher in model.teachers.items()
    )
    yield ok(
        f'{type(model).__name__}: student {type(model.student).__name__}, '
        f'{_millions(model.student)}; {teachers}'
    )
    if not model.links:
        yield failed('the distiller has no link that is switched on', 'Give one a weight above 0.')


def check_teacher_weights(state: State) -> Iterator[Finding]:
    """Every teacher loads strictly; a random one stands in where that fails."""
    state.built_model()
    for name, teacher in state.teachers().items():
        if teacher.checkpoint is None:
            yield warning(
                f'{name}: random weights, a random teacher teaches nothing',
                f'Name its checkpoint: --cfg-options model.{_key(state, name)}.checkpoint=PATH',
            )
            continue
        try:
            check_teachers({'model': _alone(state, name)})
            teacher.load()
        except (FileNotFoundError, ValueError) as error:
            what, _, cure = str(error).partition('\n')
            yield failed(f'{name}: {what}', cure)
            continue
        state.has_weights.add(name)
        yield ok(f'{name}: {teacher.checkpoint} loads strictly')
    if missing := set(state.teachers()) - state.has_weights:
        state.model = _with_random_teachers(state, missing)


def check_start(state: State) -> Iterator[Finding]:
    """``load_from``, where the run starts from other weights."""
    path = state.cfg.get('load_from')
    if not path:
        return
    model = state.built_model()
    check_checkpoint(path)
    own = (model.student if isinstance(model, Distiller) else model).state_dict()
    fit = compare(for_plain_model(weights_of(load_weights(path)), own), own)
    text = f'{path}: {fit}'
    if not fit.matched:
        yield failed(text, "Its keys are another model's: give a file of this one.")
    elif not fit.is_complete:
        yield warning(text, 'The others start from their initialisation; is that meant?')
    else:
        yield ok(text)


def check_parts(state: State) -> Iterator[Finding]:
    """Hooks and metrics build, before an epoch is spent on the way to them."""
    hooks = [HOOKS.build(copy.deepcopy(hook)) for hook in state.cfg.get('custom_hooks') or ()]
    evaluators = state.cfg.get('val_evaluator') or []
    evaluators = evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]
    metrics = [METRICS.build(copy.deepcopy(metric)) for metric in evaluators]
    names = [type(part).__name__ for part in (*hooks, *metrics)]
    yield ok(', '.join(names) or 'no hooks, no metrics')
    yield from state.domain.check_metrics(state, metrics)
    has_distill_hook = any(type(hook).__name__ == 'DistillHook' for hook in hooks)
    if isinstance(state.model, Distiller) and not has_distill_hook:
        yield failed(
            'a distiller without DistillHook: memory banks and schedules would not start',
            "Add custom_hooks = [dict(type='DistillHook')].",
        )


def _with_random_teachers(state: State, names: set[str]) -> BaseModel:
    """The same distiller, where some teachers keep random weights; they give the same shapes."""
    cfg = copy.deepcopy(state.cfg.model)
    for name in names:
        teacher = cfg.teacher if cfg.get('teacher') else cfg.teachers[name]
        teacher.update(checkpoint=None, allow_random_weights=True)
    model = MODELS.build(cfg)
    for name in set(state.teachers()) - names:
        model.teachers[name].load()
    return model


def _alone(state: State, name: str) -> dict[str, Any]:
    """The model's entry of one teacher."""
    model = state.cfg.model
    if model.get('teacher'):
        return {'teacher': model.teacher}
    return {'teachers': {name: model.teachers[name]}}


def _key(state: State, name: str) -> str:
    return 'teacher' if state.cfg.model.get('teacher') else f'teachers.{name}'


def _millions(model: nn.Module) -> str:
    return f'{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters'
