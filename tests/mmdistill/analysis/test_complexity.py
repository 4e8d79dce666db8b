"""MACs of known layers come out as on paper."""

import pytest
import torch
from torch import nn

from mmdistill.analysis import count


def test_convolution_and_linear_are_counted_as_on_paper():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 5 * 7, 4))
    result = count(model, torch.randn(2, 3, 5, 7))
    convolution = 2 * 5 * 7 * 8 * 3 * 9
    linear = 2 * 8 * 5 * 7 * 4
    assert result.dense_macs == convolution + linear
    assert result.sparse_macs == 0
    assert result.macs_by_child == {'0': convolution, '1': 0, '2': linear}
    assert result.params == sum(p.numel() for p in model.parameters())


def test_attention_counts_its_projections_and_both_products():
    width, queries, keys = 16, 5, 9
    attention = nn.MultiheadAttention(width, 4, batch_first=True).eval()
    result = count(attention, torch.randn(1, queries, width), *[torch.randn(1, keys, width)] * 2)
    projections = (2 * queries + 2 * keys) * width * width
    assert result.dense_macs == projections + 2 * queries * keys * width


def test_counting_leaves_the_model_in_its_mode():
    model = nn.Linear(2, 2).train()
    count(model, torch.randn(1, 2))
    assert model.training


@pytest.fixture
def line_of_voxels():
    """Five voxels in a row, along z."""
    coordinates = torch.tensor([[0, 2, 2, z] for z in range(5)], dtype=torch.int32)
    spconv = pytest.importorskip('spconv.pytorch')
    return lambda: spconv.SparseConvTensor(torch.randn(5, 4), coordinates, [5, 5, 6], 1)


def sparse_layers(**kwargs):
    import spconv.pytorch as spconv
    from spconv.core import ConvAlgo

    model = spconv.SparseSequential(
        spconv.SubMConv3d(4, 8, 3, bias=False, indice_key=kwargs.get('key')),
        spconv.SubMConv3d(8, 8, 3, bias=False, indice_key=kwargs.get('key')),
        spconv.SparseConv3d(8, 16, 3, stride=2, padding=1, bias=False),
    )
    for layer in model:
        layer.algo = ConvAlgo.Native
    return model


@pytest.mark.parametrize('key', [None, 'shared'])
def test_sparse_layers_are_counted_by_their_voxel_pairs(line_of_voxels, key):
    model = sparse_layers(key=key)
    result = count(model, line_of_voxels())
    neighbours = 5 + 2 * 4  # every voxel sees itself and its neighbours in the row
    # Output z = 0, 1, 2 reads inputs 2z - 1 .. 2z + 1: 2 + 3 + 2 of the five; x and y once each.
    strided = 2 + 3 + 2
    assert result.sparse_macs == neighbours * (4 * 8 + 8 * 8) + strided * 8 * 16
    assert result.dense_macs == 0
    assert sum(result.macs_by_child.values()) == result.macs
    assert model[2].indice_key is None


def test_counting_twice_gives_the_same(line_of_voxels):
    model = sparse_layers(key=None)
    assert count(model, line_of_voxels()) == count(model, line_of_voxels())
