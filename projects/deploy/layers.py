"""A sparse encoder as a list of convolutions with their batch norms folded in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor, nn


@dataclass(frozen=True)
class SparseConv:
    """A sparse convolution with bias, by cross-correlation.

    Args:
        name: Of the module in the encoder.
        weight: (out, kx, ky, kz, in) float32.
        bias: (out,) float32.
        stride, padding: Along (x, y, z); a submanifold convolution has stride 1.
        submanifold: Its output has the sites of its input.
        rulebook: Name of the rulebook; convolutions of one name share it.
        relu: A ReLU follows.
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray
    stride: tuple[int, int, int]
    padding: tuple[int, int, int]
    submanifold: bool
    rulebook: str
    relu: bool

    @property
    def kernel(self) -> tuple[int, int, int]:
        return self.weight.shape[1:4]

    def output_cells(self, cells: tuple[int, int, int]) -> tuple[int, int, int]:
        """Cells along (x, y, z) of the output's grid."""
        if self.submanifold:
            return tuple(cells)
        return tuple(
            (size + 2 * pad - kernel) // stride + 1
            for size, pad, kernel, stride in zip(
                cells, self.padding, self.kernel, self.stride, strict=True
            )
        )


@dataclass(frozen=True)
class ResidualBlock:
    """Two submanifold convolutions, the input added to the second's output, then a ReLU."""

    first: SparseConv
    second: SparseConv


@dataclass(frozen=True)
class Stage:
    """Blocks that run one after the other, and the torch module that holds them."""

    name: str
    blocks: tuple[SparseConv | ResidualBlock, ...]


def stages_of(encoder: nn.Module, feature_scale: Sequence[float] | None = None) -> list[Stage]:
    """The stages of a ``BEVFusionSparseEncoder`` in the order in which they run.

    Args:
        encoder: In any mode; the norms' running statistics are folded in.
        feature_scale: Factors that the detector lays on the columns of its averaged voxels
            (``pts_voxel_layer.feature_scale``). They are folded in, too: an export reads the
            averages as they are.

    Raises:
        ValueError: The encoder is of another kind, or has layers that cannot be folded.
    """
    from bevfusion.sparse_encoder import BEVFusionSparseEncoder

    if not isinstance(encoder, BEVFusionSparseEncoder):
        raise ValueError(
            f'the encoder is a {type(encoder).__name__}; only BEVFusionSparseEncoder is exported'
        )
    if encoder.order != ('conv', 'norm', 'act'):
        raise ValueError(
            f'order of the encoder is {encoder.order}; norms can be folded into convolutions that '
            "come before them alone: ('conv', 'norm', 'act')"
        )
    parts = {'conv_input': [encoder.conv_input]}
    for name, stage in encoder.encoder_layers.named_children():
        parts[f'encoder_layers.{name}'] = list(stage.children())
    parts['conv_out'] = [encoder.conv_out]
    names = {module: name for name, module in encoder.named_modules()}
    stages = [
        Stage(name, tuple(_block(module, names) for module in modules))
        for name, modules in parts.items()
    ]
    if feature_scale is not None:
        first = stages[0].blocks[0]
        scaled = replace(first, weight=first.weight * np.float32(feature_scale))
        stages[0] = Stage(stages[0].name, (scaled,))
    return stages


def convolutions(stages: list[Stage]) -> Iterator[SparseConv]:
    """All convolutions in the order in which they run."""
    for stage in stages:
        for block in stage.blocks:
            if isinstance(block, ResidualBlock):
                yield from (block.first, block.second)
            else:
                yield block


def _block(module: nn.Module, names: dict[nn.Module, str]) -> SparseConv | ResidualBlock:
    from bevfusion.sparse_ops import SparseResidualBlock

    if isinstance(module, SparseResidualBlock):
        return ResidualBlock(
            _folded(module.conv1, module.bn1, names, relu=True),
            _folded(module.conv2, module.bn2, names, relu=False),
        )
    conv, norm, _ = module.children()
    return _folded(conv, norm, names, relu=True)


def _folded(
    conv: nn.Module, norm: nn.Module, names: dict[nn.Module, str], relu: bool
) -> SparseConv:
    """A convolution that does what ``conv`` and ``norm`` do."""
    weight, bias = folded(conv.weight, norm, names[norm])
    # spconv centres a submanifold kernel whatever its padding says.
    padding = tuple(size // 2 for size in conv.kernel_size) if conv.subm else tuple(conv.padding)
    if max(padding) > 1 or set(conv.dilation) != {1}:
        raise ValueError(
            f'{names[conv]} has padding {padding} and dilation {tuple(conv.dilation)}; exported '
            'are paddings of 0 and 1 and dilations of 1'
        )
    return SparseConv(
        name=names[conv],
        weight=weight,
        bias=bias,
        stride=tuple(conv.stride),
        padding=padding,
        submanifold=bool(conv.subm),
        rulebook=str(conv.indice_key),
        relu=relu,
    )


def folded(weight: Tensor, norm: nn.Module, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Weight (out, ...) and bias (out,) of a layer that does what one without bias and a norm do.

    Args:
        weight: (out, ...).
        norm: The batch norm behind it; folded in float64.
        name: Of the norm, for the message.

    Raises:
        ValueError: The norm is of another kind.
    """
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_mean is None:
        raise ValueError(
            f'{name} is a {type(norm).__name__}; batch norms with running statistics alone '
            'can be folded into the layer before them'
        )
    values = {key: tensor.double().cpu().numpy() for key, tensor in norm.state_dict().items()}
    scale = values['weight'] / np.sqrt(values['running_var'] + norm.eps)
    bias = values['bias'] - values['running_mean'] * scale
    columns = (-1,) + (1,) * (weight.ndim - 1)
    scaled = weight.detach().double().cpu().numpy() * scale.reshape(columns)
    return scaled.astype(np.float32), bias.astype(np.float32)
