"""Embeddings: how contrastive losses bring features of both models into one space."""

from __future__ import annotations

from typing import Any

from mmengine.registry import MODELS
from torch import Tensor

from mmdistill.contracts import Connector, LinkLoss
from mmdistill.reading.shapes import Layer
from mmdistill.widths import HasWidths


class EmbeddingLoss(HasWidths, LinkLoss):
    """Base of the losses between embeddings, each side's by a trained projector.

    ``__init__`` of the subclass ends with ``take_widths`` of both channels.

    Args:
        embed_dims: Size ``D`` of the embeddings; default the channels of a teacher's feature whose
            projector keeps them, else 128.
        projector: Config of both projectors without channels; default a pooled linear
            :class:`~mmdistill.connectors.MLPProjector`.
        loss_weight: Factor of the loss.
        teacher_projector: Config of the teacher's, where it is another.
    """

    def __init__(
        self,
        embed_dims: int | None = None,
        projector: dict | None = None,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
        teacher_projector: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.embed_dims, self.loss_weight = embed_dims, loss_weight
        self._projector = {'type': 'MLPProjector', **(projector or {})}
        self._teacher_projector = dict(teacher_projector or self._projector)

    def make(self, student_channels: int, teacher_channels: int) -> None:
        """Make the projectors."""
        if self.embed_dims is None:
            kind = self._teacher_projector.get('type')
            kind = MODELS.get(kind) if isinstance(kind, str) else kind
            keeps = getattr(kind, 'keeps_channels', False)
            self.embed_dims = teacher_channels if keeps else 128
        size = dict(out_channels=self.embed_dims)
        self.student_projector: Connector = MODELS.build(
            {**self._projector, **size, 'in_channels': student_channels}
        )
        self.teacher_projector: Connector = MODELS.build(
            {**self._teacher_projector, **size, 'in_channels': teacher_channels}
        )

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Read the channels of both layers."""
        self.bind_widths(student_channels=student, teacher_channels=teacher)

    def embed(self, student: Any, teacher: Any) -> tuple[Tensor, Tensor]:
        """Return the embeddings ``(B, D)`` of both features.

        Raises:
            ValueError: A feature has other channels than the projectors.
        """
        self.demand_widths()
        return (
            _project(self.student_projector, student, 'student_channels'),
            _project(self.teacher_projector, teacher, 'teacher_channels'),
        )


def _project(projector: Connector, feature: Any, argument: str) -> Tensor:
    try:
        return projector(feature)
    except ValueError as error:
        raise ValueError(str(error).replace('in_channels', argument)) from error
