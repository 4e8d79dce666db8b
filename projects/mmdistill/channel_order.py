"""Sorts the channels of a model by what they contribute, without a change of what it computes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmdistill.axes import IN, OUT, axes_of, learned


class Writer(NamedTuple):
    """A layer that writes channels, and the norm behind it, by their names in the model."""

    layer: str
    norm: str


class Reader(NamedTuple):
    """A layer that reads channels: from input ``start`` on, ``inner`` values of each."""

    layer: str
    start: int = 0
    inner: int = 1


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that layers share: in another order in one of them, so in all.

    Attributes:
        writers: Layers whose outputs they are; several where residual branches add up.
        readers: Every layer that reads them.
    """

    writers: Sequence[Writer]
    readers: Sequence[Reader]


def sort_channels(model: nn.Module, groups: Sequence[ChannelGroup]) -> None:
    """Bring the channels of each group into the order of :func:`importance`, in place.

    The model computes what it computed before, up to the order of sums.

    Args:
        model: Its norms hold their statistics.
        groups: No layer may read a channel of theirs that is not named in them.

    Raises:
        ValueError: A layer has other channels than its group.
    """
    layers = dict(model.named_modules())
    with torch.no_grad():
        for group in groups:
            order = importance(layers, group).argsort(descending=True, stable=True)
            for writer in group.writers:
                _reorder(layers[writer.layer], OUT, order)
                _reorder(layers[writer.norm], OUT, order)
            for reader in group.readers:
                values = torch.arange(reader.inner, device=order.device)
                _reorder(
                    layers[reader.layer],
                    IN,
                    (order[:, None] * reader.inner + values).flatten(),
                    reader.start,
                )


def importance(layers: Mapping[str, nn.Module], group: ChannelGroup) -> Tensor:
    r"""Return how much each channel of a group contributes to what reads it, in float64.

    .. math:: \sum_w E[\max(\gamma_{wc} z + \beta_{wc}, 0)^2] \cdot \sum_r \|W_{rc}\|^2

    over the norms ``w`` that write channel ``c``, with ``z`` of the standard normal distribution,
    and the layers ``r`` that read it by the weights ``W``: the mean square of what a ReLU lets
    through, times that of what is made of it.

    Source: the norm's scale of Liu et al., "Learning Efficient Convolutional Networks through
    Network Slimming", ICCV 2017, and the weights of Li et al., "Pruning Filters for Efficient
    ConvNets", ICLR 2017.

    Args:
        layers: The model's layers by name.
        group: The channels.
    """
    signal = sum(_mean_square(layers[writer.norm]) for writer in group.writers)
    weights: Tensor | float = 0.0
    for reader in group.readers:
        layer = layers[reader.layer]
        kernel = layer.weight.detach().double()
        rows = kernel.movedim(axes_of(layer, 'weight', kernel).index(IN), 0).flatten(1)
        inputs = len(signal) * reader.inner
        rows = rows[reader.start : reader.start + inputs]
        if len(rows) != inputs:
            raise ValueError(f'{reader} has fewer than {inputs} inputs')
        weights = weights + rows.reshape(len(signal), -1).square().sum(1)
    return signal * weights


def _mean_square(norm: nn.Module) -> Tensor:
    """Mean of ``max(scale * z + shift, 0)`` squared, ``z`` of the standard normal distribution."""
    scale, shift = (
        tensor.detach().double() for tensor in (norm.weight.abs().clamp(min=1e-12), norm.bias)
    )
    z = shift / scale
    below = (1 + torch.erf(z / math.sqrt(2))) / 2
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    return scale.square() * ((z.square() + 1) * below + z * density)


def _reorder(layer: nn.Module, what: str, order: Tensor, start: int = 0) -> None:
    """Take the channels from ``start`` on in that order, in each tensor that has such an axis."""
    for key, tensor in learned(layer).items():
        axes = axes_of(layer, key, tensor) if tensor.dim() else ()
        if what in axes:
            axis = axes.index(what)
            part = tensor.data.narrow(axis, start, len(order))
            part.copy_(part.index_select(axis, order.to(part.device)))
