"""What determines a data set, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass

SPLITS = {'train': 0.3, 'dev': 0.1, 'test': 0.6}
"""Share of the cases in each split; most are for testing, so that small differences show."""


@dataclass(frozen=True)
class Parameters:
    """What to generate.

    Args:
        cases: Cases in MedPix-2.0's layout, of one to three images each; at least 20.
        wounds: Photos in Wound-1-0's layout; at least 20.
        size: Height and width of every image in pixels, 32 to 512.
        seed: Seed of everything, 0 or more.

    Raises:
        ValueError: A number is out of its range.
    """

    cases: int = 3000
    wounds: int = 2000
    size: int = 96
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            'cases': (20, 100_000),
            'wounds': (20, 100_000),
            'size': (32, 512),
            'seed': (0, 2**32 - 1),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f'{name} is {value}, expected {low} to {high}')


def split_numbers(count: int) -> dict[str, range]:
    """Return which of ``count`` numbered cases belong to each split, in order."""
    ends, total = [0], 0.0
    for share in SPLITS.values():
        total += share
        ends.append(round(count * total))
    return {split: range(ends[i], ends[i + 1]) for i, split in enumerate(SPLITS)}
