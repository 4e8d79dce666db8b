"""The template of losses between maps, position by position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from mmdistill.connectors.checks import check_same_shape
from mmdistill.contracts import LinkLoss
from mmdistill.losses.reduce import prepare
from mmdistill.reading.shapes import Layer, check_channels_first


class MapLoss(LinkLoss):
    """Base of the losses between features of one place: a subclass says how to ``compare`` them.

    Args:
        loss_weight: Factor of the loss.
    """

    needs = ('mask',)
    check_features: Callable[[Any, Any], None] = staticmethod(check_same_shape)
    """Raises a ``ValueError`` for features that do not fit; by default those of two shapes."""
    reads_channels = True
    """Whether channels and positions are not the same to it."""

    def __init__(self, loss_weight: float = 1.0, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.loss_weight = loss_weight

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Check the two layers as far as they are known."""
        if self.reads_channels:
            check_channels_first(student)
            check_channels_first(teacher)
        if student.value is not None and teacher.value is not None:
            self.check_features(student.value, teacher.value)

    def forward(self, student: Tensor, teacher: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return the loss between two features.

        Args:
            student: ``(B, C, ...)``.
            teacher: ``(B, C, ...)``, or of other channels where the loss says so.
            mask: Weights of the positions of maps, ``(B, 1, H, W)``, at least 0.

        Raises:
            ValueError: The features do not fit each other, or the mask does not fit them.
        """
        self.check_features(student, teacher)
        return self.loss_weight * self.compare(*prepare(student, teacher, mask))

    def compare(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scalar loss of features of full precision, the teacher's detached."""
        raise NotImplementedError
