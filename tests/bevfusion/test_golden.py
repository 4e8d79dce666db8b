"""The published implementation's recorded outputs are reproduced."""

import importlib.util
import sys

import numpy as np
import pytest
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

from tests.bevfusion import recording

LAYERS = (
    'pts_middle_encoder',
    'pts_backbone.0',
    'pts_backbone.1',
    'pts_neck',
    'bbox_head.shared_conv',
    'bbox_head.heatmap_head',
)


@pytest.fixture(scope='module')
def recorded():
    return recording.arrays()


@pytest.fixture(scope='module')
def reproduced():
    """Our network, its maps by layer, its voxels and its predictions for the recorded cloud."""
    from tests.bevfusion.conftest import _build

    model = recording.fill_(_build(recording.reduced_config())).eval()
    maps = {}

    def keep(name):
        def hook(_module, _inputs, output):
            parts = output if isinstance(output, (tuple, list)) else [output]
            many = len(parts) > 1
            maps.update({f'{name}.{i}' if many else name: part for i, part in enumerate(parts)})

        return hook

    for name in {layer.removesuffix('.0').removesuffix('.1') for layer in LAYERS}:
        model.get_submodule(name).register_forward_hook(keep(name))
    points = recording.cloud()
    sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes))
    with torch.no_grad():
        (predicted,) = model.predict({'points': [points]}, [sample])
    return model, maps, model.voxelize([points]), predicted.pred_instances_3d


def test_the_reduced_network_has_the_recorded_keys(reproduced):
    assert recording.keys_of(reproduced[0]) == recording.keys('reduced')


def test_the_made_up_cloud_is_the_recorded_one(recorded):
    assert np.array_equal(recording.cloud()[:5].numpy(), recorded['points_head'])


def test_voxels_come_in_the_recorded_order(reproduced, recorded):
    features, coordinates, _ = reproduced[2]
    assert len(features) == recorded['num_voxels']
    assert np.array_equal(coordinates[:20].numpy(), recorded['voxel_coords_head'])
    expected = torch.from_numpy(recorded['voxel_features_head'])
    torch.testing.assert_close(features[:20], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('layer', LAYERS)
def test_maps_have_the_recorded_values(reproduced, recorded, layer):
    values = reproduced[1][layer]
    assert list(values.shape) == recorded[f'{layer}/shape'].tolist()
    found = values.flatten()[torch.from_numpy(recorded[f'{layer}/idx'])]
    expected = torch.from_numpy(recorded[f'{layer}/val'])
    # Zeros are rectified values, which rounding does not move.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert float(values.double().norm()) == pytest.approx(float(recorded[f'{layer}/l2']), rel=1e-5)


def test_predictions_are_the_recorded_ones(reproduced, recorded):
    """Compared as sets: neighbouring scores differ by less than rounding does."""
    found = reproduced[3]
    expected = torch.from_numpy(recorded['boxes'])
    assert len(found) == len(expected)
    boxes, nearest = found.bboxes_3d.tensor, torch.cdist(expected, found.bboxes_3d.tensor).argmin(1)
    assert len(nearest.unique()) == len(expected)
    torch.testing.assert_close(boxes[nearest], expected, rtol=1e-4, atol=1e-3)
    scores = torch.from_numpy(recorded['scores'])
    torch.testing.assert_close(found.scores_3d[nearest], scores, rtol=0, atol=2e-5)
    assert found.labels_3d[nearest].tolist() == recorded['labels'].tolist()


@pytest.fixture(scope='module')
def compare(shared):
    path = shared / 'golden/compare.py'
    if not path.is_file():
        pytest.skip(f'no {path}')
    spec = importlib.util.spec_from_file_location('golden_compare', path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('case', ['eval', 'eval_b2', 'evalbn', 'train', 'train_b2'])
def test_reduced_network_matches(compare, build, case):
    model = build(compare.config('reduced').model)
    assert compare.run('reduced', model, cases=(case,)).ok


def test_voxels_targets_losses_and_decoding_match(compare, build):
    model = build(compare.config('unit').model)
    assert compare.run('unit', model).ok
