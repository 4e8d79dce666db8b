"""Checkpoints: a student's weights under a distiller's names and its own, and whether they fit.

A distiller's training checkpoint holds its student as ``student.<name>``, a plain run's as
``<name>``. MMEngine loads weights without being strict, so that a file with the other names leaves
a model at random; what is here renames them, and tells what still does not fit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.logging import print_log

STUDENT = 'student.'


@dataclass(frozen=True)
class Fit:
    """What weights lack for a model.

    Args:
        wanted: Number of the model's entries.
        missing: Names of those that the weights do not have.
        other_size: Those of another number of elements, with both shapes.
    """

    wanted: int
    missing: list[str] = field(default_factory=list)
    other_size: list[str] = field(default_factory=list)

    @property
    def matched(self) -> int:
        return self.wanted - len(self.missing) - len(self.other_size)

    @property
    def is_complete(self) -> bool:
        return self.matched == self.wanted

    def __str__(self) -> str:
        parts = [f'{self.matched} of {self.wanted} weights fit']
        for title, names in (('missing', self.missing), ('other size', self.other_size)):
            if names:
                more = f' ... and {len(names) - 6} more' if len(names) > 6 else ''
                parts.append(f'{title}: {", ".join(names[:6])}{more}')
        return '; '.join(parts)


def compare(weights: Mapping[str, Any], model: Mapping[str, Any]) -> Fit:
    """Compare weights with a model's own ``state_dict`` by name and number of elements.

    Not by shape: a layer may turn the axes of its kernel while it loads them (sparse convolutions
    do). Counters of batches, which old files lack, are not missed.
    """
    missing, other_size, wanted = [], [], 0
    for name, own in model.items():
        if name not in weights and name.endswith('num_batches_tracked'):
            continue
        wanted += 1
        if name not in weights:
            missing.append(name)
        elif _size(weights[name]) != _size(own):
            shapes = tuple(weights[name].shape), tuple(own.shape)
            other_size.append(f'{name} {shapes[0]} instead of {shapes[1]}')
    return Fit(wanted, missing, other_size)


def weights_of(checkpoint: MutableMapping[str, Any]) -> OrderedDict:
    """Return a checkpoint's weights, without the prefix ``module.`` that wrapped models save."""
    weights = checkpoint.get('state_dict', checkpoint)
    if weights and all(name.startswith('module.') for name in weights):
        return _renamed(weights, 'module.', '')
    return weights


def student_part(weights: Mapping[str, Any]) -> OrderedDict:
    """Return the student's part of a distiller's weights, under the plain model's names.

    The modules' versions (``_metadata``) come along: by them layers know how a kernel is laid out.
    """
    return _renamed(weights, STUDENT, '')


def for_plain_model(weights: Mapping[str, Any], model: Mapping[str, Any]) -> OrderedDict:
    """Return weights under a plain model's names, where those of a distiller's student fit better.

    Args:
        weights: A plain run's weights or a distiller's.
        model: The model's own ``state_dict``.
    """
    student = student_part(weights)
    matched = compare(student, model).matched
    if matched and matched >= compare(weights, model).matched:
        print_log(
            f"the weights are a distiller's: the student's are loaded, without the {STUDENT!r} in "
            'their names',
            logger='current',
        )
        return student
    return weights


def for_distiller(
    weights: MutableMapping[str, Any], student: Mapping[str, Any], prefix: str = ''
) -> Fit:
    """Bring weights under a distiller's names, in place, where a plain model's fit better.

    A training checkpoint has its student under both names; the plain ones are dropped.

    Args:
        weights: A plain run's weights or a distiller's; with ``_metadata`` where it is known.
        student: The student's own ``state_dict``.
        prefix: Of the distiller within the weights.

    Returns:
        What is lacking for the student.
    """
    own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    named, plain = compare(student_part(own), student), compare(own, student)
    if plain.matched > named.matched:
        print_log(
            f"the weights are a plain model's: loaded as the student's, with {STUDENT!r} before "
            'their names',
            logger='current',
        )
        for name in own:
            weights[prefix + STUDENT + name] = weights.pop(prefix + name)
        # torch looks versions up in the dict that it got, so they are added to it.
        for name, value in list(getattr(weights, '_metadata', {}).items()):
            if f'{name}.'.startswith(prefix):
                weights._metadata[_under(name, prefix, prefix + STUDENT)] = value
        return plain
    for name in own:
        if STUDENT + name in own:
            del weights[prefix + name]
    return named


def _renamed(weights: Mapping[str, Any], old: str, new: str) -> OrderedDict:
    """Return the entries whose names begin with ``old``, beginning with ``new`` instead."""
    part = OrderedDict(
        (new + name.removeprefix(old), value)
        for name, value in weights.items()
        if name.startswith(old)
    )
    part._metadata = OrderedDict(
        (_under(name, old, new), value)
        for name, value in getattr(weights, '_metadata', {}).items()
        if f'{name}.'.startswith(old)
    )
    return part


def _under(module: str, old: str, new: str) -> str:
    """Return a module's name below ``new`` instead of ``old``; the root's is empty."""
    return (new + f'{module}.'.removeprefix('.').removeprefix(old)).removesuffix('.')


def _size(value: Any) -> int | None:
    return value.numel() if isinstance(value, torch.Tensor) else None
