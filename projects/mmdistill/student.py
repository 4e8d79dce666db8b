"""The student: its config, and what its ``forward`` is given."""

from __future__ import annotations

import copy
import inspect
from typing import Any

from mmengine.config import Config
from torch import nn

from mmdistill.teacher import read_config

STUDENT_KEYS = ('config', 'checkpoint')


def read_student_config(student: dict) -> Config:
    """Return the config of a distiller's student.

    Args:
        student: The student as a distiller takes it.

    Returns:
        The content of its config file, if it is one, with the changes beside it; else a config
        with nothing but its ``model``.

    Raises:
        ValueError: A change is no part of the model.
    """
    if 'type' in student or 'config' not in student:
        return Config(dict(model=copy.deepcopy(dict(student))))
    config = Config(dict(read_config(student['config'], 'student')))
    changes = {key: value for key, value in student.items() if key not in STUDENT_KEYS}
    unknown = sorted(set(changes) - set(config.model))
    if unknown:
        raise ValueError(
            f'student takes {STUDENT_KEYS}, and changes of its model; {unknown} are neither: its '
            f'model has {sorted(config.model)}'
        )
    config.merge_from_dict(dict(model=changes))
    return config


class ForwardArguments:
    """Arguments of a student's forward, among them the data samples, however they are given.

    Args:
        student: The student.
        args: Positional arguments.
        kwargs: Keyword arguments.
    """

    def __init__(self, student: nn.Module, args: tuple, kwargs: dict) -> None:
        self._bound = inspect.signature(student.forward).bind_partial(*args, **kwargs)
        given = self._bound.arguments
        # A forward(*args, **kwargs) has them in its own dict of further arguments.
        others = [
            value
            for name, value in given.items()
            if self._bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        ]
        self._holder = next((d for d in [given, *others] if 'data_samples' in d), given)

    @property
    def data_samples(self) -> Any:
        """The batch's samples, or ``None``."""
        return self._holder.get('data_samples')

    @data_samples.setter
    def data_samples(self, samples: Any) -> None:
        self._holder['data_samples'] = samples

    @property
    def args(self) -> tuple:
        """Positional arguments."""
        return self._bound.args

    @property
    def kwargs(self) -> dict:
        """Keyword arguments."""
        return self._bound.kwargs
