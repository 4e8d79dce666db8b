"""What an image and its text show of a case, and how well its labels can be told from that.

A picture is drawn, and a text written, from its evidence alone: neither ever sees a label. So the
best possible guess from the evidence is the best possible guess from the files.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

BOTH, IMAGE, TEXT = SEES = (('image', 'text'), ('image',), ('text',))
"""Who looks: at both, at the image alone, at the text alone."""


@dataclass(frozen=True)
class Outcome:
    """One of the things that can happen to a case.

    Args:
        probability: How likely; those of all outcomes sum to 1.
        labels: Class of each task.
        source: What tells the first in doubt: ``'both'`` together, ``'image'`` or ``'text'``.
        image: What the picture shows, a named tuple.
        text: What the text says, a named tuple.
    """

    probability: float
    labels: dict[str, str]
    source: str
    image: Hashable
    text: Hashable


class Draw:
    """Draws outcomes, each as often as its probability says.

    Args:
        outcomes: All that can happen.
    """

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes = outcomes
        weights = np.array([outcome.probability for outcome in outcomes])
        self._ends = np.cumsum(weights / weights.sum())

    def __call__(self, random: np.random.Generator) -> Outcome:
        """Return one outcome."""
        place = int(np.searchsorted(self._ends, random.random(), side='right'))
        return self.outcomes[min(place, len(self.outcomes) - 1)]


def best_accuracy(outcomes: Iterable[Outcome], task: str, sees: Sequence[str] = BOTH) -> float:
    """Return the accuracy of the best possible guess of a label, 0 to 1.

    Args:
        outcomes: All that can happen, or what did happen, each with equal probability.
        task: Whose label is guessed.
        sees: What is looked at: ``'image'``, ``'text'`` or both.
    """
    chances: dict[tuple, Counter] = defaultdict(Counter)
    for outcome in outcomes:
        seen = tuple(getattr(outcome, name) for name in sees)
        chances[seen][outcome.labels[task]] += outcome.probability
    total = sum(sum(chance.values()) for chance in chances.values())
    return sum(max(chance.values()) for chance in chances.values()) / total
