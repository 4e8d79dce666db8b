"""What the axes of a layer's tensors count: its channels, or something else."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

# Of a weight only channels may be fewer, or in another order.
OUT, IN, FIXED = 'out', 'in', 'fixed'


def learned(layer: nn.Module) -> dict[str, Tensor]:
    """A layer's own parameters and, of a norm, its statistics."""
    tensors: dict[str, Tensor] = dict(layer.named_parameters(recurse=False))
    if isinstance(layer, _NormBase):
        tensors.update(layer.named_buffers(recurse=False))
    return tensors


def kind_of(layer: nn.Module) -> Any:
    """Layers of one kind keep their weights alike."""
    for base in (nn.MultiheadAttention, nn.Linear, nn.Embedding, _ConvTransposeNd, _ConvNd):
        if isinstance(layer, base):
            return base
    if isinstance(layer, _NormBase):
        return _NormBase
    return _is_sparse_conv(layer) or type(layer).__name__


def is_conv(layer: nn.Module) -> bool:
    """Whether each output channel is a sum over all input channels: no grouped convolution."""
    if isinstance(layer, _ConvNd):
        return layer.groups == 1
    return isinstance(layer, nn.Linear) or _is_sparse_conv(layer)


def is_norm(layer: nn.Module) -> bool:
    """Whether it is a norm with statistics, a scale and a shift of each channel."""
    return isinstance(layer, _NormBase) and layer.affine


def axes_of(layer: nn.Module, key: str, tensor: Tensor) -> tuple[str, ...]:
    """What each axis of a layer's tensor counts."""
    if tensor.dim() == 1:
        return (OUT,)
    rest = (FIXED,) * (tensor.dim() - 2)
    if isinstance(layer, _ConvNd):
        depthwise = layer.groups == layer.in_channels > 1
        if layer.groups > 1 and not depthwise:
            return (FIXED,) * tensor.dim()
        if isinstance(layer, _ConvTransposeNd):
            return (IN, FIXED if depthwise else OUT, *rest)
        return (OUT, FIXED if depthwise else IN, *rest)
    if _is_sparse_conv(layer):
        return _sparse_axes(layer, tensor)
    if isinstance(layer, nn.MultiheadAttention):
        return (*rest, FIXED, OUT) if key in ('bias_k', 'bias_v') else (OUT, IN)
    if isinstance(layer, nn.Linear):
        return (OUT, IN)
    if isinstance(layer, nn.Embedding):
        return (FIXED, OUT)
    return (FIXED,) * tensor.dim()


def _is_sparse_conv(layer: nn.Module) -> bool:
    """Whether it is a sparse convolution of spconv or MMCV, neither of which is imported here."""
    return hasattr(layer, 'subm') and hasattr(layer, 'kernel_size')


def _sparse_axes(layer: nn.Module, kernel: Tensor) -> tuple[str, ...]:
    """spconv 2.x keeps (out, kx, ky, kz, in), MMCV and spconv 1.x (kx, ky, kz, in, out)."""
    size = [FIXED] * (kernel.dim() - 2)
    if kernel.shape[0] == layer.out_channels and kernel.shape[-1] == layer.in_channels:
        return (OUT, *size, IN)
    return (*size, IN, OUT)
