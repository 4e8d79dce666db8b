"""Weight schedules: how strong a link pulls, by epoch or by iteration."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class WeightSchedule:
    """Factor of a link's weight over training.

    =============  ================================================================
    ``kind``       factor
    =============  ================================================================
    ``constant``   1 from ``begin`` up to, not including, ``end``; 0 outside
    ``linear``     ``start`` before ``begin``, a line to ``stop`` at ``end``, then ``stop``
    ``cosine``     the same along half a cosine wave
    =============  ================================================================

    Config lines::

        schedule=dict(kind='linear', begin=0, end=500, by_epoch=False)      # warm-up
        schedule=dict(kind='constant', end=15)                              # off from epoch 15 on

    Args:
        kind: One of the table's kinds.
        begin: First epoch (or iteration), counted from 0.
        end: Last point of the change; required for ``linear`` and ``cosine``.
        start: Factor at ``begin``.
        stop: Factor at ``end``.
        by_epoch: Count epochs, else iterations.
    """

    kind: str = 'constant'
    begin: int = 0
    end: int | None = None
    start: float = 0.0
    stop: float = 1.0
    by_epoch: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ('constant', 'linear', 'cosine'):
            raise ValueError(f'kind is constant, linear or cosine, not {self.kind!r}')
        if self.end is None and self.kind != 'constant':
            raise ValueError(f'a {self.kind} schedule needs `end`, the last epoch or iteration')
        if self.end is not None and self.end <= self.begin:
            raise ValueError(f'end ({self.end}) must lie after begin ({self.begin})')

    def factor(self, epoch: int, iteration: int) -> float:
        """Return the factor at an epoch and a global iteration, both counted from 0."""
        now = epoch if self.by_epoch else iteration
        if self.kind == 'constant':
            return float(now >= self.begin and (self.end is None or now < self.end))
        progress = min(max((now - self.begin) / (self.end - self.begin), 0.0), 1.0)
        if self.kind == 'cosine':
            progress = (1 - math.cos(math.pi * progress)) / 2
        return self.start + (self.stop - self.start) * progress
