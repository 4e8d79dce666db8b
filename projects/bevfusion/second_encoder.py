"""SECOND's sparse encoder on the CPU as well as on CUDA."""

from __future__ import annotations

from mmdet3d.models.middle_encoders import SparseEncoder
from mmdet3d.registry import MODELS
from spconv.core import ConvAlgo
from spconv.pytorch.conv import SparseConvolution
from torch import Tensor


@MODELS.register_module()
class PortableSparseEncoder(SparseEncoder):
    """MMDetection3D's ``SparseEncoder`` with the algorithm that the device of its voxels has.

    Arguments, weights and results are the same. MMDetection3D's own ends on a CPU with "not
    compiled with CUDA".

    Example:
        ``middle_encoder=dict(type='PortableSparseEncoder', in_channels=4, sparse_shape=[...])``
    """

    def forward(self, voxel_features: Tensor, coors: Tensor, batch_size: int) -> Tensor:
        """Dense map (B, C * D, Y, X) of voxels (V, C) at (V, 4) batch, z, y, x."""
        on_cuda = voxel_features.is_cuda
        for layer in self.modules():
            if isinstance(layer, SparseConvolution):
                layer.algo = ConvAlgo.MaskImplicitGemm if on_cuda else ConvAlgo.Native
        return super().forward(voxel_features, coors, batch_size)
