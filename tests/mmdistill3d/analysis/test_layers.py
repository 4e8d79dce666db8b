"""What links can address in models on points."""

import pytest
from mmengine.registry import MODELS

from mmdistill.analysis.layers import list_layers, pairs, side_by_side
from mmdistill3d.analysis.families import FAMILIES
from mmdistill3d.analysis.point_operators import torch_operators

NAMED = {family.name: family for family in FAMILIES}


@pytest.fixture
def layers():
    def run(name, mode='loss'):
        model = MODELS.build(NAMED[name].model())
        with torch_operators():
            return model, list_layers(model, NAMED[name].batch(model), mode)

    return run


def test_points_are_offered_and_kinds_of_sizes_are_not(layers):
    model, found = layers('VoteNet')
    addresses = {layer.address: layer for layer in found}
    assert len(addresses['bbox_head[size_res]'].size) == 2
    offered = '\n'.join(pairs('teacher', found, found, model))
    assert "student='backbone[fp_features][2]'" in offered
    assert 'where both have the same backbone[fp_xyz][2]' in offered
    assert 'size_res' not in offered and 'obj_scores' not in offered


def test_a_segmentors_head_is_there_though_it_is_called_by_its_forward(layers):
    _, found = layers('PointNet++')
    (head,) = [layer for layer in found if layer.address == 'decode_head']
    assert head.shape == (2, 13, 1024) and head.calls == 1


def test_what_prediction_alone_computes_is_marked(layers):
    model, found = layers('VoteNet')
    assert not any(layer.is_predicted_only for layer in found)
    trained = [layer for layer in found if not layer.address.startswith('bbox_head')]
    rest = [layer for layer in found if layer not in trained]
    marked = [type(rest[0])(*list(vars(layer).values())[:-1], True) for layer in rest]
    lines = list(side_by_side(dict(model=trained + marked)))
    assert sum('prediction only' in line for line in lines) == len(rest)
    assert not any('bbox_head' in line for line in pairs('teacher', trained + marked, found, model))
