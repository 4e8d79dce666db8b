"""Sparse convolutions that run on the CPU and on CUDA and read every kernel layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import spconv.pytorch as spconv
import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from spconv.core import ConvAlgo
from torch import Tensor, nn

from .kernel_layout import choose_layout, layouts_of_file, to_out_first


class _PortableConv:
    """What ours add to spconv's: device choice, no sites at all, and layout-aware loading."""

    def forward(self, x: spconv.SparseConvTensor, add_input=None) -> spconv.SparseConvTensor:
        if len(x.features) == 0:
            return self._of_no_sites(x)
        # Chosen here, not when built: the module may move. Implicit GEMM has no CPU kernel;
        # the Native algorithm runs on both, slower on CUDA. The weights keep their layout.
        if x.features.is_cuda:
            self.algo = ConvAlgo.MaskImplicitGemm
        else:
            self.algo = ConvAlgo.Native
        return super().forward(x, add_input)

    def output_cells(self, cells: Sequence[int]) -> list[int]:
        """Cells along (x, y, z) of the output for an input of ``cells``."""
        if self.subm:
            return list(cells)
        return [
            (size + 2 * pad - kernel) // stride + 1
            for size, pad, kernel, stride in zip(
                cells, self.padding, self.kernel_size, self.stride, strict=True
            )
        ]

    def _of_no_sites(self, x: spconv.SparseConvTensor) -> spconv.SparseConvTensor:
        """No sites give no sites, which spconv's kernels refuse; gradients are zeros."""
        features = F.linear(x.features, self.weight[:, 0, 0, 0])
        return spconv.SparseConvTensor(
            features, x.indices, self.output_cells(x.spatial_shape), x.batch_size
        )

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args) -> None:
        key = f'{prefix}weight'
        of_file = self.__dict__.pop('layouts_of_file', ())
        if key in state_dict:
            layout = choose_layout(
                state_dict[key].shape, self.weight.shape, local_metadata.get('version'), of_file
            )
            state_dict = {**state_dict, key: to_out_first(state_dict[key], layout)}
        # Not super(): MMDetection3D replaces SparseModule's loader by one that goes by the
        # version tag alone and so permutes untagged kernels that are already right.
        nn.Module._load_from_state_dict(self, state_dict, prefix, local_metadata, *args)


class SubMConv3d(_PortableConv, spconv.SubMConv3d):
    """Submanifold sparse convolution: active sites stay as they are."""


class SparseConv3d(_PortableConv, spconv.SparseConv3d):
    """Sparse convolution: every site that sees an active one becomes active."""


class SparseBatchNorm1d(nn.BatchNorm1d):
    """Batch norm over active sites that falls back on running statistics below two sites.

    A batch of nearly empty clouds can leave fewer than two sites, of which no variance exists.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) < 2:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)


class SparseResidualBlock(spconv.SparseModule):
    """Two 3x3x3 submanifold convolutions with a skip connection.

    Args:
        channels: Channels in and out.
        norm_cfg: Norm layer config.
        indice_key: Name of the rulebook; blocks on the same active sites share it.
    """

    def __init__(self, channels: int, norm_cfg: dict, indice_key: str) -> None:
        super().__init__()
        self.conv1 = SubMConv3d(channels, channels, 3, bias=False, indice_key=indice_key)
        self.bn1 = build_sparse_norm(norm_cfg, channels)
        self.conv2 = SubMConv3d(channels, channels, 3, bias=False, indice_key=indice_key)
        self.bn2 = build_sparse_norm(norm_cfg, channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: spconv.SparseConvTensor) -> spconv.SparseConvTensor:
        out = self.conv1(x)
        out = out.replace_feature(self.relu(self.bn1(out.features)))
        out = self.conv2(out)
        return out.replace_feature(self.relu(self.bn2(out.features) + x.features))


def sparse_conv_module(
    conv: spconv.SparseModule, norm_cfg: dict, order: Sequence[str] = ('conv', 'norm', 'act')
) -> spconv.SparseSequential:
    """A convolution with what ``order`` names of its norm and ReLU, in that order."""
    norm_channels = conv.out_channels if _before(order, 'conv', 'norm') else conv.in_channels
    layers = {
        'conv': lambda: conv,
        'norm': lambda: build_sparse_norm(norm_cfg, norm_channels),
        'act': lambda: nn.ReLU(inplace=True),
    }
    return spconv.SparseSequential(*(layers[name]() for name in order))


def build_sparse_norm(norm_cfg: dict, channels: int) -> nn.Module:
    """The norm layer of ``norm_cfg``; plain batch norm becomes :class:`SparseBatchNorm1d`."""
    cfg = dict(norm_cfg)
    if cfg['type'] in ('BN', 'BN1d'):
        requires_grad = cfg.pop('requires_grad', True)
        cfg.pop('type')
        norm = SparseBatchNorm1d(channels, **cfg)
        for parameter in norm.parameters():
            parameter.requires_grad = requires_grad
        return norm
    return build_norm_layer(cfg, channels)[1]


def spconv_autocast(device_type: str) -> AbstractContextManager:
    """Keep autocast on only where spconv knows it: float16 on CUDA. Else it runs in float32."""
    if device_type == 'cuda' and _cuda_autocast_dtype() == torch.float16:
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


def announce_layouts(module: nn.Module, state_dict: Mapping[str, Tensor], prefix: str) -> None:
    """Tell the sparse convolutions in a module which kernel layouts a checkpoint can have.

    Call it just before they load; each forgets it when it has.

    Args:
        module: Holds the convolutions.
        state_dict: The checkpoint's weights.
        prefix: What stands before the names of the module's parameters in there.
    """
    layers = {
        name: layer for name, layer in module.named_modules() if isinstance(layer, _PortableConv)
    }
    layouts = layouts_of_file(
        {
            name: (state_dict[f'{prefix}{name}.weight'].shape, layer.weight.shape)
            for name, layer in layers.items()
            if f'{prefix}{name}.weight' in state_dict
        }
    )
    for layer in layers.values():
        layer.layouts_of_file = layouts


def _cuda_autocast_dtype() -> torch.dtype:
    if hasattr(torch, 'get_autocast_dtype'):
        return torch.get_autocast_dtype('cuda')
    return torch.get_autocast_gpu_dtype()  # torch < 2.4


def _before(order: Sequence[str], first: str, second: str) -> bool:
    return second not in order or list(order).index(first) < list(order).index(second)
