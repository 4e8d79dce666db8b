"""How hard each link of a distiller pulls at the student, beside the student's own losses."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable
from typing import Any

import torch
from mmengine.device import get_device
from torch import Tensor
from torch.utils.data import DataLoader

from mmdistill.distiller import LOSS_PREFIX, Distiller
from mmdistill.utils.dataset import original_length


def measure_links(
    distiller: Distiller, loader: DataLoader, batches: int
) -> dict[str, dict[str, float]]:
    """Value, share and cosine of each link at the beginning of a run; see :func:`link_gradients`.

    Args:
        distiller: Its weights initialised, its teachers loaded; it goes to this machine's device.
        loader: Of the training data.
        batches: How many of its first batches count.
    """
    distiller.to(get_device()).train()
    distiller.prepare(num_samples=original_length(loader.dataset))
    distiller.progress = (0, 0)
    return link_gradients(distiller, itertools.islice(loader, batches))


def link_gradients(distiller: Distiller, batches: Iterable[Any]) -> dict[str, dict[str, float]]:
    """Value, share and cosine of each link, medians over raw batches.

    The share is the norm of the link's gradient over the student's parameters, as a part of that of
    the student's own losses; the cosine is that between the two.

    Args:
        distiller: In training mode on its device, its memories prepared.
        batches: As its ``data_preprocessor`` takes them.
    """
    rows: dict[str, list[dict[str, float]]] = {}
    for batch in batches:
        for link, row in shares(distiller, batch).items():
            rows.setdefault(link, []).append(row)
    return {
        link: {key: statistics.median(row[key] for row in found) for key in found[0]}
        for link, found in rows.items()
    }


def shares(distiller: Distiller, batch: Any) -> dict[str, dict[str, float]]:
    """Compare the gradient of each link with that of the student's own losses on one batch."""
    losses = distiller(**distiller.data_preprocessor(batch, True), mode='loss')
    own = {key: value for key, value in losses.items() if not key.startswith(LOSS_PREFIX)}
    parameters = [p for p in distiller.student.parameters() if p.requires_grad]
    detection = gradient(distiller.student.parse_losses(own)[0], parameters)
    rows = {}
    for key in losses.keys() - own.keys():
        pull = gradient(losses[key], parameters)
        norms = pull.norm() * detection.norm()
        rows[key.removeprefix(LOSS_PREFIX)] = {
            'value': losses[key].item(),
            'share': (pull.norm() / detection.norm()).item(),
            'cosine': (pull @ detection / norms.clamp(min=1e-12)).item(),
        }
    return rows


def gradient(loss: Tensor, parameters: list[Tensor]) -> Tensor:
    """Return the gradient over all parameters as one vector; zero where a loss reaches none."""
    if not loss.requires_grad:
        return torch.cat([torch.zeros_like(p).flatten() for p in parameters])
    grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(p) if grad is None else grad).flatten()
            for p, grad in zip(parameters, grads, strict=True)
        ]
    )
