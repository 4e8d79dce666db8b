"""Sparse 3D encoder of BEVFusion's LiDAR branch."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from spconv.pytorch import SparseConvTensor, SparseSequential
from torch import Tensor

from .sparse_ops import (
    SparseConv3d,
    SparseResidualBlock,
    SubMConv3d,
    announce_layouts,
    sparse_conv_module,
    spconv_autocast,
)

_NORM_CFG = dict(type='BN1d', eps=1e-3, momentum=0.01)


@MODELS.register_module()
class BEVFusionSparseEncoder(BaseModule):
    """Voxels to a bird's-eye-view map, by sparse convolutions over (x, y, z).

    Each stage but the last ends in a convolution of stride 2, so S stages shrink the plane by
    2^(S-1). Convolutions on the same active sites share one rulebook (``subm1``, ``subm2``, ...).
    Published as part of BEVFusion (Liu et al., ICRA 2023); the layout is SECOND's (Yan et al.,
    Sensors 2018).

    Args:
        in_channels: Channels C of a voxel's feature.
        sparse_shape: Cells along (x, y, z).
        order: Order of 'conv', 'norm' and 'act' in a block.
        norm_cfg: Norm layer of all blocks.
        base_channels: Channels of the first convolution.
        output_channels: Channels of the last convolution.
        encoder_channels: Channels of each block, per stage.
        encoder_paddings: Paddings of each block, per stage.
        block_type: 'basicblock' (residual) or 'conv_module' (plain).
        return_middle_feats: Also return the sparse tensor after each stage.

    Raises:
        ValueError: If the channels do not chain or an option is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        sparse_shape: Sequence[int],
        order: Sequence[str] = ('conv', 'norm', 'act'),
        norm_cfg: dict = _NORM_CFG,
        base_channels: int = 16,
        output_channels: int = 128,
        encoder_channels: Sequence[Sequence[int]] = ((16,), (32,) * 3, (64,) * 3, (64,) * 3),
        encoder_paddings: Sequence[Sequence] = ((1,), (1, 1, 1), (1, 1, 1), ((0, 1, 1), 1, 1)),
        block_type: str = 'conv_module',
        return_middle_feats: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if sorted(order) != ['act', 'conv', 'norm']:
            raise ValueError(f"order is {order!r}; it must hold 'conv', 'norm' and 'act' once each")
        self.sparse_shape = [int(cells) for cells in sparse_shape]
        self.in_channels = in_channels
        self.order = tuple(order)
        self.base_channels = base_channels
        self.output_channels = output_channels
        self.encoder_channels = encoder_channels
        self.encoder_paddings = encoder_paddings
        self.stage_num = len(encoder_channels)
        self.return_middle_feats = return_middle_feats
        if block_type == 'basicblock':
            stages = self._residual_stages(norm_cfg)
        elif block_type == 'conv_module':
            stages = self._plain_stages(norm_cfg)
        else:
            raise ValueError(f"block_type is {block_type!r}; choose 'basicblock' or 'conv_module'")

        stem = SubMConv3d(in_channels, base_channels, 3, bias=False, indice_key='subm1')
        stem_order = ('conv',) if self.order[0] != 'conv' else self.order
        self.conv_input = sparse_conv_module(stem, norm_cfg, stem_order)
        self.encoder_layers = SparseSequential()
        for number, blocks in enumerate(stages, start=1):
            self.encoder_layers.add_module(f'encoder_layer{number}', SparseSequential(*blocks))
        flatten = SparseConv3d(
            encoder_channels[-1][-1],
            output_channels,
            (1, 1, 3),
            stride=(1, 1, 2),
            bias=False,
            indice_key='spconv_down2',
        )
        self.conv_out = sparse_conv_module(flatten, norm_cfg)
        self.out_shape = self._shape_after_convolutions(self.sparse_shape)

    def forward(
        self, voxel_features: Tensor, coors: Tensor, batch_size: int
    ) -> Tensor | tuple[Tensor, list[SparseConvTensor]]:
        """Encode a batch of voxels.

        Args:
            voxel_features: (M, C).
            coors: (M, 4), the columns are sample, x, y, z.
            batch_size: Number of samples; any of them may have no voxel.

        Returns:
            The map (B, output_channels * D, X, Y); channel c at height z is c * D + z. With
            ``return_middle_feats`` also the sparse tensors of the stages.
        """
        x = SparseConvTensor(voxel_features, coors.int(), self.sparse_shape, int(batch_size))
        stage_outputs = []
        with spconv_autocast(voxel_features.device.type):
            x = self.conv_input(x)
            for stage in self.encoder_layers:
                x = stage(x)
                stage_outputs.append(x)
            dense = self.conv_out(x).dense()
        batch, channels, size_x, size_y, size_z = dense.shape
        bev = dense.permute(0, 1, 4, 2, 3).reshape(batch, channels * size_z, size_x, size_y)
        if len(voxel_features) == 0:
            bev = bev + self._zero_of_parameters()
        return (bev, stage_outputs) if self.return_middle_feats else bev

    def bev_size(self, sparse_shape: Sequence[int]) -> tuple[int, int]:
        """Cells (X, Y) of the map that a grid of ``sparse_shape`` (x, y, z) cells gives."""
        return self._shape_after_convolutions(sparse_shape)[1:]

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        announce_layouts(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _residual_stages(self, norm_cfg: dict) -> list[list]:
        stages, channels = [], self.base_channels
        for index, (widths, paddings) in enumerate(
            zip(self.encoder_channels, self.encoder_paddings, strict=True)
        ):
            is_last = index == len(self.encoder_channels) - 1
            num_residual = len(widths) if is_last else len(widths) - 1
            blocks = []
            for width in widths[:num_residual]:
                if width != channels:
                    raise ValueError(
                        f'encoder_channels[{index}] is {tuple(widths)}: its residual blocks keep '
                        f'the channels they get, here {channels}; set them to {channels} (the '
                        'first stage gets base_channels, a later one the last number of the '
                        'stage before)'
                    )
                blocks.append(SparseResidualBlock(width, norm_cfg, f'subm{index + 1}'))
            if not is_last:
                blocks.append(self._down(channels, widths[-1], paddings[-1], index, norm_cfg))
                channels = widths[-1]
            stages.append(blocks)
        return stages

    def _plain_stages(self, norm_cfg: dict) -> list[list]:
        stages, channels = [], self.base_channels
        for index, (widths, paddings) in enumerate(
            zip(self.encoder_channels, self.encoder_paddings, strict=True)
        ):
            blocks = []
            for position, (width, padding) in enumerate(zip(widths, paddings, strict=True)):
                if index > 0 and position == 0:
                    block = self._down(channels, width, padding, index, norm_cfg)
                else:
                    key = f'subm{index + 1}'
                    conv = SubMConv3d(channels, width, 3, bias=False, indice_key=key)
                    block = sparse_conv_module(conv, norm_cfg, self.order)
                blocks.append(block)
                channels = width
            stages.append(blocks)
        return stages

    def _down(self, channels: int, width: int, padding, index: int, norm_cfg: dict):
        padding = padding if isinstance(padding, int) else tuple(padding)
        key = f'spconv{index + 1}'
        conv = SparseConv3d(channels, width, 3, 2, padding, bias=False, indice_key=key)
        return sparse_conv_module(conv, norm_cfg, self.order)

    def _shape_after_convolutions(self, sparse_shape: Sequence[int]) -> tuple[int, int, int]:
        """(channels, X, Y) of the dense map for a grid of ``sparse_shape`` cells."""
        cells = list(sparse_shape)
        for module in self.modules():
            if isinstance(module, SparseConv3d):
                cells = module.output_cells(cells)
        if min(cells) < 1:
            raise ValueError(
                f'the convolutions of {self.stage_num} stages leave {cells} of sparse_shape '
                f'{list(sparse_shape)}; use fewer stages, more padding or smaller voxels'
            )
        return self.output_channels * cells[2], cells[0], cells[1]

    def _zero_of_parameters(self) -> Tensor:
        """A zero with a gradient to all parameters, so that distributed training finds them used.

        Norm layers are left out where there is no voxel.
        """
        return sum(p.sum() * 0.0 for p in self.parameters() if p.requires_grad)
