"""Contrastive representation distillation: tell a sample's embedding from the data set's others."""

from __future__ import annotations

from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from mmdistill.contracts import SampleMemory, Sampler
from mmdistill.losses.embedding import EmbeddingLoss
from mmdistill.memory.samplers import SAMPLERS
from mmdistill.reading.shapes import Layer


@MODELS.register_module()
class CRDLoss(EmbeddingLoss):
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

        loss=dict(type='CRDLoss', loss_weight=0.05, memory=dict(num_negatives=4096))
        loss=dict(type='CRDLoss', loss_weight=0.05, granularity=dict(type='cell', grid=(8, 8)))
        loss=dict(type='CRDLoss', loss_weight=0.05, granularity='object')
        loss=dict(
            type='CRDLoss', loss_weight=0.2, granularity='object',
            projector=dict(pool='avg'), teacher_projector=dict(type='CentredProjector'),
            memory=dict(negatives='all', temperature=0.2))

    Args:
        student_channels: Channels of the student's feature; read from the layer.
        teacher_channels: Channels of the teacher's feature; read from the layer.
        embed_dims: Size ``D`` of the embeddings; default the teacher's channels where its projector
            keeps them, as a :class:`~mmdistill.connectors.CentredProjector` does, else 128.
        granularity: What is contrasted: ``'scene'``, ``'cell'``, ``'object'`` or ``'query'``, or
            the config of a sampler, whose ``type`` may be one of these words
            (:class:`~mmdistill.memory.SceneSampler`, :class:`~mmdistill.memory.CellSampler`,
            ``mmdistill3d.ObjectSampler``, ``mmdistill3d.QuerySampler``).
        projector: Config of the projectors, without channels; default the sampler's, a linear
            :class:`~mmdistill.connectors.MLPProjector` of what is pooled over positions.
        teacher_projector: The teacher's, where it is another than the student's; a
            :class:`~mmdistill.connectors.CentredProjector` has nothing to train.
        memory: Config of the memory, without ``embed_dims``; what it leaves out is the sampler's.
        loss_weight: Factor of the loss.

    Raises:
        ValueError: ``granularity`` is unknown, or needs a package that is not imported.
    """

    def __init__(
        self,
        student_channels: int | None = None,
        teacher_channels: int | None = None,
        embed_dims: int | None = None,
        granularity: str | dict = 'scene',
        projector: dict | None = None,
        teacher_projector: dict | None = None,
        memory: dict | None = None,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        sampler = _build_sampler(granularity)
        projector = {**sampler.projector, **(projector or {})}
        super().__init__(embed_dims, projector, loss_weight, init_cfg, teacher_projector)
        self.sampler, self.needs, self.joins = sampler, sampler.needs, sampler.joins
        self.columns = sampler.columns
        self._memory = {**sampler.memory, **(memory or {})}
        self.take_widths(student_channels=student_channels, teacher_channels=teacher_channels)

    def make(self, student_channels: int, teacher_channels: int) -> None:
        """Make the projectors, and the memory of what they give."""
        super().make(student_channels, teacher_channels)
        self.memory: SampleMemory = MODELS.build({**self._memory, 'embed_dims': self.embed_dims})

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Read the channels of both layers, and let the sampler know where they lie."""
        super().bind(*self.sampler.embedded(student, teacher))
        self.sampler.bind(student, teacher)

    def bind_classes(self, student: nn.Module, teacher: nn.Module) -> None:
        """Let the sampler compare the classes of the two models."""
        self.sampler.bind_classes(student, teacher)

    def forward(self, student: Any, teacher: Any, **needs: Any) -> Tensor:
        """Return the loss of a batch and update the banks.

        Args:
            student: Feature ``(B, Cs, ...)``, or a sparse tensor.
            teacher: Feature ``(B, Ct, ...)``.
            **needs: What the sampler needs: ``sample_idx``, the index of each sample in the data
                set, ``(B,)``, for scenes and cells; ``data_samples`` with boxes for objects.

        Raises:
            ValueError: A feature has other channels, or the batch lacks what the sampler reads.
        """
        samples = self.sampler(student, teacher, **{need: needs.get(need) for need in self.needs})
        mine, theirs = self.embed(samples.student, samples.teacher)
        return self.loss_weight * self.memory(mine, theirs, valid=samples.valid, **samples.keys)


def _build_sampler(granularity: str | dict) -> Sampler:
    config = dict(type=granularity) if isinstance(granularity, str) else dict(granularity)
    kind = config['type']
    config['type'] = SAMPLERS.get(kind, kind)
    if isinstance(config['type'], str) and MODELS.get(config['type']) is None:
        raise ValueError(
            f'granularity is one of {sorted(SAMPLERS)} or the config of a sampler, not {kind!r}; '
            "'object' and 'query' come with mmdistill3d: add it to the config's custom_imports"
        )
    return MODELS.build(config)
