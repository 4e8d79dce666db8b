"""Attention as it is exported."""

import torch

from bevfusion.decoder_layer import WeightlessAttention
from deploy.attention import AttentionByHead


def test_attention_by_head_is_the_attention_of_all_heads():
    torch.manual_seed(0)
    attention = WeightlessAttention(embed_dims=24, num_heads=3, attn_drop=0.1, proj_drop=0.1).eval()
    torch.nn.init.normal_(attention.attn.in_proj_bias)
    torch.nn.init.normal_(attention.attn.out_proj.bias)
    query, query_pos = torch.randn(2, 1, 5, 24)
    key, value, key_pos = torch.randn(3, 1, 70, 24)
    given = dict(query=query, key=key, value=value, query_pos=query_pos, key_pos=key_pos)
    with torch.no_grad():
        together, by_head = attention(**given), AttentionByHead(attention)(**given)
    torch.testing.assert_close(by_head, together, rtol=0, atol=1e-5)
    assert (together - query).abs().max() > 0.1
