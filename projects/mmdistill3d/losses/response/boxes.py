"""Distance of boxes in metres."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Columns of a box in metric form.
PARTS = {
    'center': slice(0, 3),
    'size': slice(3, 6),
    'heading': slice(6, 8),
    'velocity': slice(8, 10),
}
DEFAULT_WEIGHTS = dict(center=1.0, size=1.0, heading=1.0, velocity=0.2)


class BoxDistance:
    """Weighted L1 or smooth L1 distance of boxes in metric form.

    A box in metric form is x, y, z of its centre in metres, the logarithms of its sizes in
    metres, two heading components (sine and cosine), and its velocity in m/s where there is one.
    Heads whose cells, anchors and codes differ are compared in it.

    Args:
        weights: Weight of each of ``center``, ``size``, ``heading`` and ``velocity``; parts left
            out keep their default.
        beta: Below this difference the distance is quadratic; 0 is L1.

    Raises:
        ValueError: A part is unknown.
    """

    def __init__(self, weights: dict[str, float] | None = None, beta: float = 0.1) -> None:
        unknown = set(weights or {}) - set(PARTS)
        if unknown:
            raise ValueError(f'box_weights takes {list(PARTS)}, not {sorted(unknown)}')
        self.weights = {**DEFAULT_WEIGHTS, **(weights or {})}
        self.beta = beta

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the distances ``(...)`` of boxes ``(..., 8 or 10)``.

        Velocity counts where both sides have one.
        """
        columns = min(student.shape[-1], teacher.shape[-1])
        difference = F.smooth_l1_loss(
            student[..., :columns], teacher[..., :columns], reduction='none', beta=self.beta
        )
        weights = difference.new_zeros(columns)
        for part, where in PARTS.items():
            weights[where] = self.weights[part]
        return (difference * weights).sum(-1)


def log_size(size: Tensor) -> Tensor:
    """Logarithm of sizes in metres, of a diverged box as well."""
    return torch.log(size.clamp(min=1e-3))
