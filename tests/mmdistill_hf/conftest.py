"""Tiny models of transformers, saved as its own files. No test reaches for the network."""

import os

os.environ['HF_HUB_OFFLINE'] = '1'  # read when the library is imported

import pytest
import torch

pytest.importorskip('transformers', reason='the extra [video] is not installed')

import mmdistill_hf  # noqa: F401  (registers)

VISION = dict(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    image_size=16,
    patch_size=8,
)
TEXT = dict(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    vocab_size=40,
    max_position_embeddings=16,
)
CONFIGS = dict(
    clip=dict(model_type='clip_vision_model', projection_dim=12, **VISION),
    vit=dict(model_type='vit', **VISION),
    mobilevit=dict(
        model_type='mobilevit',
        hidden_sizes=[16, 20, 24],
        neck_hidden_sizes=[8, 8, 8, 12, 16, 20, 40],
        expand_ratio=2.0,
    ),
    bert=dict(model_type='bert', **TEXT),
    distilbert=dict(
        model_type='distilbert',
        dim=16,
        hidden_dim=32,
        n_layers=1,
        n_heads=2,
        vocab_size=40,
        max_position_embeddings=16,
    ),
    clip_text=dict(
        model_type='clip_text_model', projection_dim=12, bos_token_id=1, eos_token_id=3, **TEXT
    ),
)
CAPTIONS = ['an axial scan of the chest', 'a person waves', 'The person sits down.']


@pytest.fixture
def images():
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def tokens():
    """Three texts of 6, 3 and 1 tokens."""
    ids = torch.randint(4, 40, (3, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(6) < torch.tensor([[6], [3], [1]])
    ids[torch.arange(3), mask.sum(1) - 1] = 3  # CLIP pools at the end token
    return dict(input_ids=ids, attention_mask=mask.long())
