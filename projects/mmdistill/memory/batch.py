"""A batch as a memory sees it: embeddings, and the rows they belong to."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from mmengine import dist
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Embeddings of a batch without gradients.

    Args:
        student: The student's, ``(B, D)``; zero where not finite.
        teacher: The teacher's, ``(B, D)``.
        index: Row of each sample in the banks, ``(B,)``.
        finite: Which samples are used, ``(B,)``.
        labels: Class of each sample, ``(B,)``, where classes matter.
        draws: Rows drawn as negatives, ``(B, K)``, or ``(K,)`` for the whole batch; ``None`` stands
            for the expectation over draws.
    """

    student: Tensor
    teacher: Tensor
    index: Tensor
    finite: Tensor
    labels: Tensor | None = None
    draws: Tensor | None = None

    def gather(self, with_draws: bool = False) -> Batch:
        """Concatenate the batches of all ranks, which must be of one size."""
        if dist.get_world_size() == 1:
            return self
        parts = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and (with_draws or field.name != 'draws'):
                if field.name == 'draws' and value.dim() == 1:
                    value = value.expand(len(self.index), -1)
                parts[field.name] = torch.cat(dist.all_gather(value.contiguous()))
        return Batch(**parts)
