"""Whether a family of MMDetection3D trains, distils and predicts on this machine."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import MODELS
from spconv.core import ConvAlgo
from torch import nn

from mmdistill3d.analysis.families import Family
from mmdistill3d.analysis.point_operators import torch_operators

EQUAL = 1e-5
"""Largest loss between a model and a copy of itself that is rounding."""


@dataclass(frozen=True)
class Row:
    """What came out for one family.

    Args:
        family: The family.
        plain: Why the plain model does not run here as it is; empty where it does.
        problem: Why it does not distil or predict, with our operators where it needs them.
    """

    family: Family
    plain: str
    problem: str

    @property
    def is_helped(self) -> bool:
        """Whether it ran with operators of ours in place of those that need CUDA."""
        return bool(self.plain) and not self.problem

    def cells(self) -> list[str]:
        """The row of the table."""
        family, runs = self.family, not self.problem
        links = [link for link in (family.response, family.second_stage) if link]
        losses = ', '.join(f'`{link["loss"]["type"]}`' for link in links)
        notes = [family.note] if family.note else []
        if self.is_helped:
            notes.append('the rest with operators in torch')
        if self.plain and self.problem != self.plain:
            notes += [self.problem] if self.problem else []
        return [
            family.name,
            f'no: {self.plain}' if self.plain else 'yes',
            'yes' if runs else 'no',
            f'`{family.features}`' if runs else '',
            losses if runs else '',
            'yes' if runs else 'no',
            '; '.join(notes),
        ]


HEAD = [
    'family',
    'plain model runs here',
    'distil step',
    'features',
    'response',
    'predicts',
    'note',
]


def check_family(family: Family) -> Row:
    """Train a step of the plain model, distil a step, predict; in whole or with our operators."""
    plain = _attempt(lambda: run_plain(family))
    if not plain:
        return Row(family, '', _attempt(lambda: run_distillation(family)))
    problem = _attempt(lambda: run_plain(family, help_it=True))
    if not problem:
        problem = _attempt(lambda: run_distillation(family, help_it=True))
    return Row(family, plain, problem)


def run_plain(family: Family, help_it: bool = False) -> None:
    """A training step and a prediction of the plain model.

    Args:
        family: The family.
        help_it: Use operators in torch, and spconv's algorithm that has CPU kernels.
    """
    with _help(help_it):
        model = _ready(MODELS.build(family.model()), help_it)
        model.init_weights()
        batch = _batch(family, model)
        _step(model, batch)
        _predict(family, model, batch)


def run_distillation(family: Family, help_it: bool = False) -> dict[str, float]:
    """A step of a model that a copy of itself teaches, then one in training mode; a prediction.

    Args:
        family: The family.
        help_it: As of :func:`run_plain`.

    Returns:
        The links' values between the model and its copy, which are 0 but for rounding: the teacher
        saw exactly what the student saw, and rows were joined with their own.

    Raises:
        ValueError: They are not, or there is no finite step.
    """
    links = dict(
        features=_features(family), response=family.response, second_stage=family.second_stage
    )
    config = dict(
        type='Distiller',
        student=family.model(),
        teacher=dict(config=family.model(), allow_random_weights=True),
        links={name: link for name, link in links.items() if link},
    )
    with _help(help_it):
        distiller = MODELS.build(config)
        distiller.init_weights()
        teacher = distiller.teachers['teacher'].model
        teacher.load_state_dict(distiller.student.state_dict())
        for model in (distiller.student, teacher):
            _ready(model, help_it)
        batch = _batch(family, distiller.student)
        found = _values_of_equals(distiller, batch)
        _step(distiller, batch)
        _predict(family, distiller, batch)
    return found


def _features(family: Family) -> dict[str, Any]:
    return dict(student=family.features, teacher=family.features, loss=dict(type='FitNetLoss'))


def _values_of_equals(distiller: nn.Module, batch: dict[str, Any]) -> dict[str, float]:
    """Values of the links where student and teacher are equal, both in eval mode."""
    distiller.eval()
    data = distiller.data_preprocessor(copy.deepcopy(batch), True)
    losses = distiller(**data, mode='loss')
    values = {name: float(losses[f'distill/{name}']) for name in distiller.links}
    unequal = {name: value for name, value in values.items() if not abs(value) <= EQUAL}
    if unequal:
        raise ValueError(f'a model and its copy differ: {unequal}')
    return values


def _step(model: nn.Module, batch: dict[str, Any]) -> None:
    model.train()
    data = model.data_preprocessor(copy.deepcopy(batch), True)
    total, _ = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if not total.isfinite() or not all(gradient.isfinite().all() for gradient in gradients):
        raise ValueError('the loss or a gradient is not finite')


def _predict(family: Family, model: nn.Module, batch: dict[str, Any]) -> None:
    """Predict one sample, as all published configs test."""
    batch = batch if family.test_batch is None else family.test_batch(model)
    one = {
        'inputs': {key: value[:1] for key, value in batch['inputs'].items()},
        'data_samples': batch['data_samples'][:1],
    }
    with torch.no_grad():
        (found,) = model.eval().test_step(copy.deepcopy(one))
    if not ('pred_instances_3d' in found or 'pred_pts_seg' in found):
        raise ValueError(f'the prediction holds {list(found.keys())}')


def _batch(family: Family, model: nn.Module) -> dict[str, Any]:
    batch = family.batch(model)
    if batch is None:
        raise ValueError('nobody can make up a batch for it')
    return batch


def _ready(model: nn.Module, help_it: bool) -> nn.Module:
    for module in model.modules():
        if help_it and hasattr(module, 'algo'):
            module.algo = ConvAlgo.Native
    return model


def _help(help_it: bool) -> AbstractContextManager:
    return torch_operators() if help_it else nullcontext()


def _attempt(run: Callable[[], Any]) -> str:
    """Run something, and return in a few words what went wrong: that is what the table reports."""
    torch.manual_seed(0)
    try:
        run()
    except Exception as error:
        return _reason(error)
    return ''


def _reason(error: Exception) -> str:
    text = str(error).strip()
    operator = re.search(r'(\w+?)_(?:forward|backward)?_?impl: implementation for device cpu', text)
    if operator:
        return f"mmcv's {operator[1]} has no CPU version"
    if 'torch.cuda.IntTensor' in text or 'Torch not compiled with CUDA' in text:
        return f'{_owner(error)} needs CUDA'
    absent = re.search(r'to install (\w+)', text)
    if absent:
        return f'{absent[1]} is not installed'
    if 'is not implemented on CPU' in text:
        return f"mmcv's {text.split()[0]} has no CPU version"
    return f'{type(error).__name__}: {text.splitlines()[0][:100] if text else ""}'


def _owner(error: Exception) -> str:
    """The package in which an error began, and the file."""
    files = []
    step = error.__traceback__
    while step is not None:
        files.append(step.tb_frame.f_code.co_filename)
        step = step.tb_next
    ours = ('mmcv', 'mmdet3d', 'spconv')
    found = (re.search(rf'/({"|".join(ours)})/.*?(\w+)\.py$', file) for file in reversed(files))
    package, file = next((match.groups() for match in found if match), ('it', ''))
    if package == 'spconv':
        return "spconv's default algorithm"
    return f"{package}'s {file}" if file else package


def table(rows: Iterable[Row]) -> list[list[str]]:
    """Head and rows of the table."""
    return [HEAD, *(row.cells() for row in rows)]
