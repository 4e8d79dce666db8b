"""Tell from a sweep whether the kernels of a trained encoder were read the right way round."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .bevfusion import BEVFusion
from .sparse_ops import SparseConv3d, SubMConv3d

AS_LOADED = 'as loaded'

Permutation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class EncoderCheck:
    """How well a trained encoder's batch norms know what they get, per reading of the kernels.

    Args:
        mismatch: Reading of the kernels to its mismatch, 0 for a perfect one.
        by_norm: Name of each batch norm to its mismatch as loaded, in the order of the data.
    """

    mismatch: dict[str, float]
    by_norm: dict[str, float]

    @property
    def best(self) -> str:
        """The reading that fits best."""
        return min(self.mismatch, key=self.mismatch.__getitem__)

    @property
    def verdict(self) -> str:
        """'right', 'wrong' if another reading fits twice as well, or else 'undecided'."""
        if self.best == AS_LOADED:
            return 'right'
        return 'wrong' if 2 * self.mismatch[self.best] < self.mismatch[AS_LOADED] else 'undecided'

    def __str__(self) -> str:
        values = ', '.join(f'{name} {value:.4f}' for name, value in self.mismatch.items())
        said = {
            'right': 'the kernels were read the right way round',
            'wrong': f'WRONG: the kernels fit with {self.best}',
            'undecided': f'undecided: {self.best} fits hardly better; try another sweep',
        }
        return f'{said[self.verdict]} (mismatch of the batch norms: {values})'


@torch.no_grad()
def check_encoder(model: BEVFusion, points: Tensor | Sequence[Tensor]) -> EncoderCheck:
    """Check the axis order of a trained encoder's kernels on real sweeps.

    A batch norm stores the mean and the variance of what it saw in training. With the right
    kernels a new sweep gives nearly these; with kernels whose axes are confused it does not,
    although every shape fits. So the encoder is run with its kernels as they are and read
    otherwise, and at each batch norm the divergence of the two Gaussians, per channel,

        KL = (var_sweep / var - log(var_sweep / var) - 1 + (mean_sweep - mean)^2 / var) / 2

    is taken. A mismatch is its median over the channels, averaged over the norms. Two things
    keep a sweep that differs from the training data (fewer points, another sensor) from
    deciding: the norms normalise by the sweep's statistics, so that a difference does not grow
    from layer to layer, and readings are compared on the same sweep, not with a threshold.

    Args:
        model: A detector with trained weights; it is left as it is.
        points: One cloud (N, C) or several, as the test pipeline gives them.

    Returns:
        The mismatch of each reading: as loaded; input and output channels swapped in kernels
        that have as many of both; x and z swapped; both. Channels are told apart by a factor of 3
        to 20, also on another sensor's sweep; x and z by 1.2 to 2.

    Raises:
        ValueError: The batch norms hold their initial statistics, so nothing can be told, or no
            point lies in the model's range.

    Example:
        >>> load_checkpoint(model, 'bevfusion_lidar.pth')
        >>> cloud = torch.from_numpy(np.fromfile('sweep.pcd.bin', np.float32).reshape(-1, 5))
        >>> print(bevfusion.check_encoder(model, cloud))
    """
    encoder = model.pts_middle_encoder
    norms = [m for m in encoder.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if all((m.running_mean == 0).all() and (m.running_var == 1).all() for m in norms):
        raise ValueError(
            'the batch norms of the encoder hold their initial statistics: its weights are '
            'untrained or were not loaded'
        )
    points = [points] if isinstance(points, Tensor) else list(points)
    device = next(encoder.parameters()).device
    feats, coords, _ = model.voxelize([cloud.to(device) for cloud in points])
    if len(feats) == 0:
        raise ValueError(
            f'no point lies within {model.pts_voxel_layer.point_cloud_range}; give a sweep in the '
            "model's own coordinates"
        )
    by_reading = {
        name: _mismatch_by_norm(_read_as(encoder, permute), feats, coords, len(points))
        for name, permute in _READINGS.items()
    }
    return EncoderCheck(
        mismatch={name: sum(v.values()) / len(v) for name, v in by_reading.items()},
        by_norm=by_reading[AS_LOADED],
    )


def _swap_channels(kernel: Tensor) -> Tensor:
    return kernel.transpose(0, 4) if kernel.shape[0] == kernel.shape[4] else kernel


def _swap_x_and_z(kernel: Tensor) -> Tensor:
    return kernel.transpose(1, 3) if kernel.shape[1] == kernel.shape[3] else kernel


_READINGS: dict[str, Permutation] = {
    AS_LOADED: lambda kernel: kernel,
    'in and out swapped': _swap_channels,
    'x and z swapped': _swap_x_and_z,
    'both swapped': lambda kernel: _swap_x_and_z(_swap_channels(kernel)),
}


def _read_as(encoder: nn.Module, permute: Permutation) -> nn.Module:
    """A copy of the encoder with its kernels permuted, whose norms go by the batch."""
    encoder = copy.deepcopy(encoder).train()
    for module in encoder.modules():
        if isinstance(module, (SubMConv3d, SparseConv3d)):
            module.weight.copy_(permute(module.weight).clone())
    return encoder


def _mismatch_by_norm(
    encoder: nn.Module, feats: Tensor, coords: Tensor, batch_size: int
) -> dict[str, float]:
    """Run the encoder; per batch norm, the median over its channels of the divergence."""
    found: dict[str, float] = {}

    def compare(name: str) -> Callable:
        def hook(norm: nn.Module, inputs: tuple[Tensor]) -> None:
            if len(inputs[0]) > 1:
                found[name] = _divergence(norm, inputs[0]).median().item()

        return hook

    for name, module in encoder.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(compare(name))
    encoder(feats, coords, batch_size)
    return found


def _divergence(norm: nn.Module, x: Tensor) -> Tensor:
    """KL divergence (C,) of the Gaussian of ``x`` (N, C) from the one that the norm stores."""
    x = x.double()
    var, mean = x.var(dim=0, unbiased=False) + norm.eps, x.mean(dim=0)
    known_var, known_mean = norm.running_var.double() + norm.eps, norm.running_mean.double()
    ratio = var / known_var
    return (ratio - ratio.log() - 1 + (mean - known_mean) ** 2 / known_var) / 2
