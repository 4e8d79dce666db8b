"""Vectors to classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module()
class ClassificationHead(BaseModule):
    """A linear classifier; ``fc`` is the address of its logits.

    Config lines::

        head=dict(type='ClassificationHead', num_classes=101)

    Args:
        in_channels: Of the vectors; a :class:`VideoClassifier` fills them in.
        num_classes: How many.
        dropout: Before the linear layer.
        label_smoothing: As in torch's cross entropy.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.label_smoothing = num_classes, label_smoothing
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(B, num_classes)`` of ``(B, in_channels)``."""
        return self.fc(self.dropout(features))

    def loss(self, features: Tensor, data_samples: Sequence[BaseDataElement]) -> dict[str, Tensor]:
        """Return ``loss_cls``, the cross entropy with each sample's ``label``.

        Raises:
            ValueError: A label is no class of the head.
        """
        logits = self(features)
        labels = torch.tensor([sample.label for sample in data_samples], device=logits.device)
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise ValueError(
                f'labels from {labels.min()} to {labels.max()}, and the head has num_classes='
                f'{self.num_classes}'
            )
        return dict(loss_cls=F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing))

    def predict(
        self, features: Tensor, data_samples: Sequence[BaseDataElement]
    ) -> Sequence[BaseDataElement]:
        """Set ``scores``, the classes' probabilities ``(num_classes,)``, of each sample."""
        for sample, scores in zip(data_samples, self(features).softmax(1), strict=True):
            sample.set_data(dict(scores=scores))
        return data_samples
