"""Embeddings: how contrastive losses bring features of both models into one space."""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor


def build_projectors(
    student_channels: int, teacher_channels: int, embed_dims: int, config: dict | None
) -> tuple[BaseModule, BaseModule]:
    """Build the student's and the teacher's projector.

    Args:
        student_channels: Channels of the student's feature.
        teacher_channels: Channels of the teacher's feature.
        embed_dims: Size ``D`` of the embeddings.
        config: Config of both without channels; default a pooled linear
            :class:`~mmdistill.connectors.MLPProjector`.
    """
    config = {'type': 'MLPProjector', **(config or {}), 'out_channels': embed_dims}
    return (
        MODELS.build({**config, 'in_channels': student_channels}),
        MODELS.build({**config, 'in_channels': teacher_channels}),
    )


def embed(projector: BaseModule, feature: Any, argument: str) -> Tensor:
    """Return embeddings ``(B, D)``; a ``ValueError`` about channels names ``argument``."""
    try:
        return projector(feature)
    except ValueError as error:
        raise ValueError(str(error).replace('in_channels', argument)) from error
