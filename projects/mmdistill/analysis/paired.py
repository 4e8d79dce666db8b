"""Means over seeds, and the interval of a paired difference."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom.
_T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """How much one row of runs is above another, over the seeds that both have.

    Attributes:
        mean: Mean of the differences between runs of equal seed.
        low, high: 95 % interval of that mean; None with fewer than two common seeds.
        seeds: The common seeds, in ascending order.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: tuple[int, ...]

    @property
    def is_above_zero(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.low is not None and self.low > 0


def paired_difference(runs: Mapping[int, float], others: Mapping[int, float]) -> Difference | None:
    """Compare two rows of runs seed by seed.

    Runs of equal seed see the same batches in the same order, so what a seed does to both cancels
    out in their difference. The interval is Student's t of the differences.

    Args:
        runs: Value of each run, by seed.
        others: Value of each run of the other row, by seed.

    Returns:
        The difference ``runs - others``; None if the rows have no seed in common.
    """
    seeds = tuple(sorted(runs.keys() & others.keys()))
    if not seeds:
        return None
    differences = [runs[seed] - others[seed] for seed in seeds]
    mean = statistics.fmean(differences)
    if len(seeds) < 2:
        return Difference(mean, None, None, seeds)
    half = t_quantile(len(seeds) - 1) * statistics.stdev(differences) / math.sqrt(len(seeds))
    return Difference(mean, mean - half, mean + half, seeds)


def t_quantile(degrees: int) -> float:
    """97.5 % quantile of Student's t.

    Args:
        degrees: Degrees of freedom, at least 1. Above 30 the value of 30 is returned, which errs
            on the side of a wider interval by at most 4 %.

    Raises:
        ValueError: ``degrees`` is below 1.
    """
    if degrees < 1:
        raise ValueError(f'{degrees} degrees of freedom: an interval needs at least two runs')
    return _T_975[min(degrees, len(_T_975)) - 1]
