"""Transformer decoder layer of TransFusion."""

from __future__ import annotations

import copy

import torch
from mmcv.cnn.bricks.transformer import MultiheadAttention
from mmdet.models.layers import DetrTransformerDecoderLayer
from mmdet3d.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class TransformerDecoderLayer(DetrTransformerDecoderLayer):
    """Self-attention, cross-attention and feed-forward with learned positions.

    Unlike DETR's layer the attention values carry the positional embedding too.
    TransFusion (Bai et al., CVPR 2022).

    Args:
        pos_encoding_cfg: ``input_channel`` (2 for BEV positions) and ``num_pos_feats``.
        **kwargs: Options of mmdet's ``DetrTransformerDecoderLayer``.
    """

    def __init__(self, pos_encoding_cfg: dict | None = None, **kwargs) -> None:
        # The parent writes `batch_first` into the configs it gets.
        super().__init__(**copy.deepcopy(kwargs))
        pos_encoding_cfg = pos_encoding_cfg or dict(input_channel=2, num_pos_feats=128)
        self.self_posembed = PositionEncodingLearned(**pos_encoding_cfg)
        self.cross_posembed = PositionEncodingLearned(**pos_encoding_cfg)

    def _init_layers(self) -> None:
        super()._init_layers()
        self.self_attn = WeightlessAttention(**self.self_attn_cfg)
        self.cross_attn = WeightlessAttention(**self.cross_attn_cfg)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        query_pos: Tensor,
        key_pos: Tensor,
        self_attn_mask: Tensor | None = None,
        cross_attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Refine the queries.

        Args:
            query: (B, C, P) features of the queries.
            key: (B, C, L) features of the cells.
            query_pos: (B, P, 2) positions of the queries in cells.
            key_pos: (B, L, 2) positions of the cells.

        Returns:
            (B, C, P) features.
        """
        query_embed = self.self_posembed(query_pos).transpose(1, 2)
        key_embed = self.cross_posembed(key_pos).transpose(1, 2)
        query, key = query.transpose(1, 2), key.transpose(1, 2)
        query = self.self_attn(
            query=query,
            key=query,
            value=query + query_embed,
            query_pos=query_embed,
            key_pos=query_embed,
            attn_mask=self_attn_mask,
        )
        query = self.norms[0](query)
        query = self.cross_attn(
            query=query,
            key=key,
            value=key + key_embed,
            query_pos=query_embed,
            key_pos=key_embed,
            attn_mask=cross_attn_mask,
            key_padding_mask=key_padding_mask,
        )
        query = self.norms[1](query)
        query = self.norms[2](self.ffn(query))
        return query.transpose(1, 2)


class WeightlessAttention(MultiheadAttention):
    """MMCV's multi-head attention without the averaged attention map, which nobody reads.

    Leaving it out lets torch choose a fused kernel; the result and the keys are the same. The
    fused path on the CPU is the slower one under dropout, so there it is not taken.
    """

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_pos: Tensor,
        key_pos: Tensor,
        attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Attend, batch first: every tensor is (B, number, C); returns (B, queries, C)."""
        drops = self.training and self.attn.dropout > 0
        # Frozen weights, as of a teacher, torch would apply to a view of another layout by one
        # product for each cell: twice the layer's time at full size.
        out, _ = self.attn(
            (query + query_pos).transpose(0, 1).contiguous(),
            (key + key_pos).transpose(0, 1).contiguous(),
            value.transpose(0, 1).contiguous(),
            attn_mask=attn_mask,
            key_padding_mask=key_padding_mask,
            need_weights=drops and not query.is_cuda,
            average_attn_weights=False,
        )
        return query + self.dropout_layer(self.proj_drop(out.transpose(0, 1)))


class PositionEncodingLearned(nn.Module):
    """Embedding of positions by a small network, always in float32.

    Positions are cell numbers up to a few hundred, which bfloat16 cannot tell apart.
    """

    def __init__(self, input_channel: int, num_pos_feats: int = 288) -> None:
        super().__init__()
        self.position_embedding_head = nn.Sequential(
            nn.Conv1d(input_channel, num_pos_feats, kernel_size=1),
            nn.BatchNorm1d(num_pos_feats),
            nn.ReLU(inplace=True),
            nn.Conv1d(num_pos_feats, num_pos_feats, kernel_size=1),
        )

    def forward(self, positions: Tensor) -> Tensor:
        """Embed (B, N, input_channel) positions as (B, num_pos_feats, N)."""
        with torch.autocast(positions.device.type, enabled=False):
            return self.position_embedding_head(positions.float().transpose(1, 2).contiguous())
