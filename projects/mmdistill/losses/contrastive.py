"""Contrastive losses: a sample's student and teacher agree, and differ from other samples'."""

from __future__ import annotations

from typing import Any

import torch
from mmengine import dist
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from mmdistill.address import describe
from mmdistill.memory import ContrastMemory  # noqa: F401  (registered for CRDLoss's default)


@MODELS.register_module()
class CRDLoss(BaseModule):
    """Contrastive representation distillation with memory banks.

    Both features are projected to embeddings of unit length; each side's embedding must be told
    apart from the other side's embeddings of all samples of the data set. The loss starts near
    ``2 (ln K + 1)``, so mind ``loss_weight`` beside detection losses.

    Source: Tian et al., "Contrastive Representation Distillation", ICLR 2020.

    Config lines::

        loss=dict(type='CRDLoss', student_channels=256, teacher_channels=512, loss_weight=0.05,
                  memory=dict(num_negatives=4096))

    Args:
        student_channels: Channels of the student's feature.
        teacher_channels: Channels of the teacher's feature.
        embed_dims: Size ``D`` of the embeddings.
        projector: Config of the projectors, without channels; default a pooled linear
            :class:`~mmdistill.connectors.MLPProjector`.
        memory: Config of the :class:`~mmdistill.memory.ContrastMemory`, without ``embed_dims``.
        loss_weight: Factor of the loss.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        embed_dims: int = 128,
        projector: dict | None = None,
        memory: dict | None = None,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.student_projector, self.teacher_projector = _build_projectors(
            student_channels, teacher_channels, embed_dims, projector
        )
        self.memory = MODELS.build(
            {'type': 'ContrastMemory', **(memory or {}), 'embed_dims': embed_dims}
        )
        self.loss_weight = loss_weight

    def forward(self, student: Any, teacher: Any, *, sample_idx: Tensor | None) -> Tensor:
        """Return the loss of a batch and update the banks.

        Args:
            student: Feature ``(B, Cs, ...)``, or a sparse tensor.
            teacher: Feature ``(B, Ct, ...)``.
            sample_idx: Index of each sample in the data set, ``(B,)``.

        Raises:
            ValueError: A feature has other channels, or the batch has no ``sample_idx``.
        """
        for feature in (student, teacher):
            if not (isinstance(feature, Tensor) or hasattr(feature, 'replace_feature')):
                raise ValueError(
                    f'expected one tensor, got {describe(feature)}: add a selector to the layer '
                    'address, e.g. [0]'
                )
        if sample_idx is None:
            raise ValueError(
                "CRD needs each sample's index in the data set, and the batch has none: add "
                "'sample_idx' to meta_keys of the pipeline's Pack...Inputs"
            )
        student, student_is_finite = _zero_if_not_finite(student)
        teacher, teacher_is_finite = _zero_if_not_finite(teacher)
        loss = self.memory(
            _embed(self.student_projector, student, 'student_channels'),
            _embed(self.teacher_projector, teacher, 'teacher_channels'),
            sample_idx,
            valid=student_is_finite & teacher_is_finite,
        )
        return self.loss_weight * loss


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
        self.student_projector, self.teacher_projector = _build_projectors(
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
        student = _embed(self.student_projector, student, 'student_channels')
        teacher = _embed(self.teacher_projector, teacher, 'teacher_channels')
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


def _build_projectors(
    student_channels: int, teacher_channels: int, embed_dims: int, config: dict | None
) -> tuple[BaseModule, BaseModule]:
    config = {'type': 'MLPProjector', **(config or {}), 'out_channels': embed_dims}
    return (
        MODELS.build({**config, 'in_channels': student_channels}),
        MODELS.build({**config, 'in_channels': teacher_channels}),
    )


def _embed(projector: BaseModule, feature: Any, argument: str) -> Tensor:
    try:
        return projector(feature)
    except ValueError as error:
        raise ValueError(str(error).replace('in_channels', argument)) from error


def _zero_if_not_finite(feature: Any) -> tuple[Any, Tensor]:
    """Zero each sample that holds a non-finite value; also return which samples are finite, (B,).

    Zeroing before the projector keeps the bad values out of its gradients, too.
    """
    if not isinstance(feature, Tensor):
        finite_voxels = feature.features.isfinite().all(1)
        sample = feature.indices[:, 0].long()
        bad = finite_voxels.new_zeros(feature.batch_size, dtype=torch.long)
        bad = bad.scatter_add_(0, sample, (~finite_voxels).long())
        values = torch.where(finite_voxels[:, None], feature.features, 0)
        return feature.replace_feature(values), bad == 0
    finite = feature.flatten(1).isfinite().all(1)
    return torch.where(finite.view(-1, *[1] * (feature.dim() - 1)), feature, 0), finite


def _gather(embeddings: Tensor) -> tuple[Tensor, int]:
    """Concatenate the ranks' embeddings, own gradient kept; return also where the own begin."""
    parts = dist.all_gather(embeddings.detach())
    first = sum(len(part) for part in parts[: dist.get_rank()])
    parts[dist.get_rank()] = embeddings
    return torch.cat(parts), first
