"""Preprocessing of a batch for a student and for teachers that see it otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor
from torch import nn

from mmdistill.teacher import Teacher


class DistillDataPreprocessor(BaseDataPreprocessor):
    """The student's preprocessor, and in training also that of teachers whose own differs.

    Args:
        student: The student's data preprocessor.
        teachers: The teachers with a preprocessor of their own, by name.

    Raises:
        ValueError: The student's preprocessor draws random batch augmentations, which a teacher
            with another preprocessor would not see.
    """

    def __init__(self, student: nn.Module, teachers: dict[str, Teacher]) -> None:
        super().__init__()
        if getattr(student, 'batch_augments', None):
            raise ValueError(
                f'the data_preprocessor of teacher(s) {sorted(teachers)} differs from the '
                "student's, which draws random batch_augments that the teacher would not see; "
                'move the augmentation to the pipeline, or give both the same data_preprocessor'
            )
        self.student = student
        self.teachers = teachers

    def forward(self, data: dict, training: bool = False) -> Any:
        """Return the student's batch; in training with ``teacher_data`` beside it."""
        batch = self.student(data, training)
        if not training:
            return batch
        if not isinstance(batch, dict):
            raise ValueError(
                'a teacher with a data_preprocessor of its own needs batches that are dicts, got '
                f'{type(batch).__name__}'
            )
        # Teachers are in eval mode: no random training augmentation, the limits of testing.
        teacher_data = {
            name: teacher.model.data_preprocessor(data, False)
            for name, teacher in self.teachers.items()
        }
        return {**batch, 'teacher_data': teacher_data}


def same_settings(one: Any, other: Any) -> bool:
    """Whether two modules (or values) were built with the same settings and hold equal tensors."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.shape == other.shape and bool((one == other).all())
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, nn.Module):
        return same_settings(_settings(one), _settings(other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_settings(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_settings, one, other))
    return bool(one == other)


# What every module has, or what says where it is and not what it computes.
_STATE = {*vars(nn.Module()), *vars(BaseDataPreprocessor()), 'init_cfg', '_is_init'}


def _settings(module: nn.Module) -> dict[str, Any]:
    """Attributes, private ones too, buffers, parameters and children of a module."""
    own = {key: value for key, value in vars(module).items() if key not in _STATE}
    return {**own, **module._buffers, **module._parameters, **module._modules}
