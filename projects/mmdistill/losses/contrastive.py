"""Contrastive representation distillation: tell a sample's embedding from the data set's others."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor

from mmdistill.address import describe
from mmdistill.losses.embedding import build_projectors, embed
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
        self.student_projector, self.teacher_projector = build_projectors(
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
            embed(self.student_projector, student, 'student_channels'),
            embed(self.teacher_projector, teacher, 'teacher_channels'),
            sample_idx,
            valid=student_is_finite & teacher_is_finite,
        )
        return self.loss_weight * loss


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
