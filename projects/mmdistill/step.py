"""Step: what links may see of one training step."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmdistill.memo import Memo
from mmdistill.reading.recorder import Recording


class Step:
    """One batch on its way through teachers and student, as losses and masks see it.

    Args:
        student_model: The student.
        teacher_models: The teachers by name.
        recordings: What each teacher at work recorded.
        data_samples: The batch's samples, ``None`` where it has none. They stay as they are now,
            whatever the student's forward puts in their place.
    """

    def __init__(
        self,
        student_model: nn.Module,
        teacher_models: Mapping[str, nn.Module],
        recordings: Mapping[str, Recording],
        data_samples: Any,
    ) -> None:
        self.student_model, self.teacher_models = student_model, teacher_models
        self.recordings, self.data_samples = recordings, _as_they_are(data_samples)
        self.once = Memo()
        """Computes what several links need once; see :class:`~mmdistill.memo.Memo`."""

    @cached_property
    def sample_idx(self) -> Tensor | None:
        """Index of each sample in the data set, ``(B,)`` on the CPU; ``None`` without one.

        Raises:
            ValueError: An index is no number.
        """
        samples = self.data_samples
        if not isinstance(samples, (list, tuple)) or not samples:
            return None
        indices = [getattr(sample, 'sample_idx', None) for sample in samples]
        if None in indices:
            return None
        try:
            return torch.tensor([int(index) for index in indices])
        except ValueError as error:
            raise ValueError(
                f"sample_idx must be each sample's index in the data set, got {indices}"
            ) from error

    def predictions(self, teacher: str) -> Any:
        """Return the samples that a teacher predicted.

        That a loss, mask or target asks for them, by its ``needs``, is what makes the teacher run
        to its end.
        """
        return self.recordings[teacher].predictions

    def give(self, need: str, teacher: str) -> Any:
        """Return one of :data:`~mmdistill.contracts.NEEDS`, but for the mask, which a link makes.

        Args:
            need: Its name.
            teacher: Name of the link's teacher.
        """
        if need == 'teacher_predictions':
            return self.predictions(teacher)
        if need == 'teacher_model':
            return self.teacher_models[teacher]
        return getattr(self, need)


def _as_they_are(samples: Any) -> Any:
    """Samples, and the instances in them, with fields of their own; tensors are shared.

    A head may replace fields of what it is given: anchor heads of MMDetection3D put bare tensors
    where the boxes were.
    """
    if not isinstance(samples, (list, tuple)):
        return samples
    copies = []
    for sample in samples:
        if isinstance(sample, BaseDataElement):
            sample = copy.copy(sample)
            fields = vars(sample)
            nested = {k: v for k, v in fields.items() if isinstance(v, BaseDataElement)}
            fields.update({name: copy.copy(value) for name, value in nested.items()})
        copies.append(sample)
    return copies
