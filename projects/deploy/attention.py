"""Attention to many cells without the scores of all heads at once."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AttentionByHead(nn.Module):
    """MMCV's multi-head attention in evaluation, for one sample, one head after the other.

    Of 8 heads, 200 queries and 180 x 180 cells the scores take 207 MB, and again when they are
    normalised; those of one head are still in the processor's cache when they are read. Keys and
    values stand channels first, as the map does from which they are made.

    Args:
        attention: An MMCV ``MultiheadAttention`` whose keys and values are as wide as its queries.
    """

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attn = attention.attn

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_pos: Tensor,
        key_pos: Tensor,
        attn_mask: None = None,
        key_padding_mask: None = None,
    ) -> Tensor:
        """Attend: ``query`` (1, P, C), ``key`` and ``value`` (1, L, C) -> (1, P, C)."""
        size = self.attn.head_dim
        to_query, to_key, to_value = self.attn.in_proj_weight.chunk(3)
        query_bias, _, value_bias = self.attn.in_proj_bias.chunk(3)
        queries = F.linear((query + query_pos).squeeze(0), to_query, query_bias) / size**0.5
        # The keys' bias adds the same to all scores of a query, which changes none of its weights.
        keys = to_key @ (key + key_pos).squeeze(0).T
        values = to_value @ value.squeeze(0).T
        heads = zip(queries.split(size, dim=1), keys.split(size), values.split(size), strict=True)
        seen = [(q @ k).softmax(dim=1) @ v.T for q, k, v in heads]
        # The weights of a query sum to 1, so the values' bias can be added to their mean.
        return query + self.attn.out_proj(torch.cat(seen, dim=1) + value_bias)


def with_attention_by_head(part: nn.Module) -> nn.Module:
    """A copy of a dense part whose queries attend to the map one head after the other.

    Args:
        part: A :class:`deploy.dense.DensePart` in eval mode.
    """
    part = copy.deepcopy(part)
    for layer in part.bbox_head.decoder:
        layer.cross_attn = AttentionByHead(layer.cross_attn)
    return part
