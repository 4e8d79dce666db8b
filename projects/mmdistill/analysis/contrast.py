"""What a contrastive link can gain by its projectors alone, and how far apart its pairs are."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmdistill.analysis.gradients import shares
from mmdistill.contracts import SampleMemory
from mmdistill.distiller import LOSS_PREFIX, Distiller

MEASURED = ('loss', 'positive', 'negative')


class Similarities:
    """Cosines that enter a memory: of a sample's two sides, and of different samples.

    Args:
        memory: The memory of a contrastive loss; it is watched until :meth:`remove`.
    """

    def __init__(self, memory: SampleMemory) -> None:
        self.positive, self.negative = float('nan'), float('nan')
        self._handle = memory.register_forward_pre_hook(self._read, with_kwargs=True)

    def remove(self) -> None:
        """Stop watching."""
        self._handle.remove()

    @torch.no_grad()
    def _read(self, memory: nn.Module, args: tuple, kwargs: dict) -> None:
        student, teacher = args[:2]
        used = student.isfinite().all(1) & teacher.isfinite().all(1)
        labels = kwargs.get('labels')
        if labels is not None:
            used &= labels.to(used.device) >= 0
        scores = student[used] @ teacher[used].T
        count = len(scores)
        if count > 1:
            own = scores.diagonal().sum()
            self.positive = (own / count).item()
            self.negative = ((scores.sum() - own) / (count * (count - 1))).item()


def watched(distiller: Distiller) -> dict[str, SampleMemory]:
    """The memories of a distiller's contrastive links, by the link's name.

    Raises:
        ValueError: No link has a memory.
    """
    found = {
        name: link.loss.memory
        for name, link in distiller.links.items()
        if isinstance(getattr(link.loss, 'memory', None), SampleMemory)
    }
    if not found:
        raise ValueError(
            f'no link contrasts with a memory; the links are {sorted(distiller.links)}'
        )
    return found


def train_projectors(
    distiller: Distiller, batches: Iterable[Any], learning_rate: float, window: int = 10
) -> dict[str, dict[str, float]]:
    """Train what belongs to the links and leave the student as it is.

    What a loss falls by here it would fall by without the student learning anything.

    Args:
        distiller: In training mode on its device, its memories prepared.
        batches: As its ``data_preprocessor`` takes them; a step each.
        learning_rate: Of AdamW.
        window: Steps at the start and at the end that the numbers are medians over.

    Returns:
        For each contrastive link ``loss``, ``positive`` and ``negative`` at the start
        (``first_...``) and at the end (``last_...``), and the gradient's ``share`` at the end.
    """
    similarities = {name: Similarities(memory) for name, memory in watched(distiller).items()}
    optimizer = torch.optim.AdamW(distiller.links.parameters(), learning_rate)
    history: dict[str, list[tuple[float, ...]]] = {name: [] for name in similarities}
    batch = None
    for batch in batches:
        losses = distiller(**distiller.data_preprocessor(batch, True), mode='loss')
        links: list[Tensor] = [losses[LOSS_PREFIX + name] for name in similarities]
        optimizer.zero_grad()
        torch.stack(links).sum().backward(inputs=list(distiller.links.parameters()))
        optimizer.step()
        for (name, seen), loss in zip(similarities.items(), links, strict=True):
            history[name].append((loss.item(), seen.positive, seen.negative))
    for seen in similarities.values():
        seen.remove()
    if batch is None:
        raise ValueError('there is no batch to train the projectors on')
    pulls = shares(distiller, batch)
    return {
        name: {
            **_medians('first', rows[:window]),
            **_medians('last', rows[-window:]),
            'share': pulls[name]['share'],
        }
        for name, rows in history.items()
    }


def _medians(prefix: str, rows: Sequence[tuple[float, ...]]) -> dict[str, float]:
    columns = zip(*rows, strict=True)
    return {
        f'{prefix}_{key}': statistics.median(column)
        for key, column in zip(MEASURED, columns, strict=True)
    }
