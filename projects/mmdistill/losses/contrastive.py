"""Contrastive representation distillation: tell a sample's embedding from the data set's others."""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor

from mmdistill.losses.embedding import build_projectors, embed

SAMPLERS = {'scene': 'SceneSampler', 'cell': 'CellSampler', 'object': 'ObjectSampler'}


@MODELS.register_module()
class CRDLoss(BaseModule):
    """Contrastive representation distillation with memory banks, of scenes, cells or objects.

    Both features are projected to embeddings of unit length; each side's embedding must be told
    apart from the other side's embeddings in a bank: of all scenes or cells of the data set
    (:class:`~mmdistill.memory.ContrastMemory`), or of the newest objects of each class
    (:class:`~mmdistill.memory.QueueMemory`). The loss starts near ``2 (ln K + 1)``, so mind
    ``loss_weight`` beside detection losses.

    Source: Tian et al., "Contrastive Representation Distillation", ICLR 2020.

    Takes: features (B, C, ...) or sparse tensors; maps (B, C, H, W) for cells and objects;
    sample_idx or boxes.

    Config lines::

        loss=dict(type='CRDLoss', student_channels=256, teacher_channels=512, loss_weight=0.05,
                  memory=dict(num_negatives=4096))
        loss=dict(type='CRDLoss', student_channels=256, teacher_channels=512, loss_weight=0.05,
                  granularity=dict(type='cell', grid=(8, 8)))
        loss=dict(type='CRDLoss', student_channels=256, teacher_channels=512, loss_weight=0.05,
                  granularity=dict(type='object', point_cloud_range=point_cloud_range))

    Args:
        student_channels: Channels of the student's feature.
        teacher_channels: Channels of the teacher's feature.
        embed_dims: Size ``D`` of the embeddings.
        granularity: What is contrasted: ``'scene'``, ``'cell'`` or ``'object'``, or the config of a
            sampler, whose ``type`` may be one of these words
            (:class:`~mmdistill.memory.SceneSampler`, :class:`~mmdistill.memory.CellSampler`,
            ``mmdistill3d.ObjectSampler``).
        projector: Config of the projectors, without channels; default the sampler's, a linear
            :class:`~mmdistill.connectors.MLPProjector` of what is pooled over positions.
        memory: Config of the memory, without ``embed_dims``; what it leaves out is the sampler's.
        loss_weight: Factor of the loss.

    Raises:
        ValueError: ``granularity`` is unknown, or needs a package that is not imported.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        embed_dims: int = 128,
        granularity: str | dict = 'scene',
        projector: dict | None = None,
        memory: dict | None = None,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.sampler = _build_sampler(granularity)
        self.student_projector, self.teacher_projector = build_projectors(
            student_channels,
            teacher_channels,
            embed_dims,
            {**self.sampler.projector, **(projector or {})},
        )
        self.memory = MODELS.build(
            {**self.sampler.memory, **(memory or {}), 'embed_dims': embed_dims}
        )
        self.loss_weight = loss_weight

    def forward(
        self,
        student: Any,
        teacher: Any,
        *,
        sample_idx: Tensor | None = None,
        data_samples: Any = None,
    ) -> Tensor:
        """Return the loss of a batch and update the banks.

        Args:
            student: Feature ``(B, Cs, ...)``, or a sparse tensor.
            teacher: Feature ``(B, Ct, ...)``.
            sample_idx: Index of each sample in the data set, ``(B,)``; for scenes and cells.
            data_samples: Samples with boxes; for objects.

        Raises:
            ValueError: A feature has other channels, or the batch lacks what the sampler reads.
        """
        samples = self.sampler(student, teacher, sample_idx=sample_idx, data_samples=data_samples)
        loss = self.memory(
            embed(self.student_projector, samples.student, 'student_channels'),
            embed(self.teacher_projector, samples.teacher, 'teacher_channels'),
            valid=samples.valid,
            **samples.keys,
        )
        return self.loss_weight * loss


def _build_sampler(granularity: str | dict) -> Any:
    config = dict(type=granularity) if isinstance(granularity, str) else dict(granularity)
    kind = config['type']
    if kind not in SAMPLERS and MODELS.get(kind) is None:
        raise ValueError(
            f'granularity is one of {sorted(SAMPLERS)} or the config of a sampler, not {kind!r}'
        )
    config['type'] = SAMPLERS.get(kind, kind)
    if MODELS.get(config['type']) is None:
        raise ValueError(
            f"granularity {kind!r} reads boxes: add 'mmdistill3d' to the config's custom_imports"
        )
    return MODELS.build(config)
