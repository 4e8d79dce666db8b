"""InfoNCE: a sample's student and teacher agree, and differ from the batch's other samples."""

from __future__ import annotations

from typing import Any

import torch
from mmengine import dist
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from mmdistill.losses.embedding import build_projectors, embed


@MODELS.register_module()
class ContrastiveLoss(BaseModule):
    r"""Symmetric InfoNCE between the student's and the teacher's embeddings of a batch.

    With embeddings :math:`s_i, t_i` of unit length: the mean of the cross entropies of
    :math:`\langle s_i, t_j \rangle / T` over ``j`` and over ``i``, with the target ``i = j``.

    Source: van den Oord et al., "Representation Learning with Contrastive Predictive Coding",
    2018; the symmetric form of Radford et al., ICML 2021.

    Config lines::

        loss=dict(type='ContrastiveLoss', student_channels=256, teacher_channels=512, grid=(8, 8))

    Args:
        student_channels: Channels of the student's feature.
        teacher_channels: Channels of the teacher's feature.
        embed_dims: Size of the embeddings.
        projector: Config of the projectors, see :class:`CRDLoss`.
        grid: Contrast the cells of a grid laid over the map, ``(H, W)``, not whole scenes: more
            negatives for small batches of BEV maps.
        temperature: ``T``.
        gather: Use the other ranks' embeddings as further negatives.
        loss_weight: Factor of the loss.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        embed_dims: int = 128,
        projector: dict | None = None,
        grid: tuple[int, int] | None = None,
        temperature: float = 0.07,
        gather: bool = True,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if temperature <= 0:
            raise ValueError(f'temperature must be positive, got {temperature}')
        self.student_projector, self.teacher_projector = build_projectors(
            student_channels, teacher_channels, embed_dims, projector
        )
        self.grid = None if grid is None else tuple(grid)
        self.temperature, self.gather, self.loss_weight = temperature, gather, loss_weight

    def forward(self, student: Any, teacher: Any) -> Tensor:
        """Return the loss of features ``(B, Cs, ...)`` and ``(B, Ct, ...)``.

        Raises:
            ValueError: A feature has other channels than the config says, or is no map where a
                grid is laid over it.
        """
        if self.grid is not None:
            student, teacher = self._cells(student), self._cells(teacher)
        student = embed(self.student_projector, student, 'student_channels')
        teacher = embed(self.teacher_projector, teacher, 'teacher_channels')
        first = 0
        all_student, all_teacher = student, teacher
        if self.gather and dist.get_world_size() > 1:
            all_student, first = _gather(student)
            all_teacher, _ = _gather(teacher)
        target = torch.arange(first, first + len(student), device=student.device)
        loss = F.cross_entropy(student @ all_teacher.T / self.temperature, target)
        loss = loss + F.cross_entropy(teacher @ all_student.T / self.temperature, target)
        return self.loss_weight * loss / 2

    def _cells(self, feature: Any) -> Tensor:
        """``(B, C, H, W)`` to ``(B * cells, C)``."""
        if not isinstance(feature, Tensor) or feature.dim() != 4:
            raise ValueError(f'a grid needs maps (B, C, H, W), got {type(feature).__name__}')
        cells = F.adaptive_avg_pool2d(feature, self.grid)
        return cells.flatten(2).transpose(1, 2).flatten(0, 1)


def _gather(embeddings: Tensor) -> tuple[Tensor, int]:
    """Concatenate the ranks' embeddings, own gradient kept; return also where the own begin."""
    parts = dist.all_gather(embeddings.detach())
    first = sum(len(part) for part in parts[: dist.get_rank()])
    parts[dist.get_rank()] = embeddings
    return torch.cat(parts), first
