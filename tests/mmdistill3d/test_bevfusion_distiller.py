"""Distilling one BEVFusion detector into another."""

import copy

import pytest
import torch
from mmengine.registry import MODELS

from tests.mmdistill3d.conftest import load

SAMPLES = 6


def build(config):
    distiller = MODELS.build(config)
    distiller.init_weights()
    distiller.prepare(num_samples=SAMPLES)
    return distiller


def crd(student, teacher, layer):
    loss = dict(type='CRDLoss', student_channels=student, teacher_channels=teacher)
    return dict(student=layer, teacher=layer, loss=loss)


# Layer, channels of student and teacher.
LAYERS = {
    'pts_middle_encoder': (64, 128),
    'pts_middle_encoder.encoder_layers.encoder_layer1': (16, 32),  # a sparse tensor
    'pts_backbone[0]': (32, 64),
    'pts_backbone[1]': (64, 128),
    'pts_neck[0]': (64, 128),
    'bbox_head.shared_conv': (32, 64),
}


@pytest.mark.parametrize('layer', LAYERS)
def test_each_layer_can_be_linked_alone(distill_model, batch, layer):
    distill_model['links'] = dict(only=crd(*LAYERS[layer], layer))
    distiller = build(distill_model).train()
    losses = distiller(**batch, mode='loss')
    assert losses['distill/only'].isfinite() and losses['distill/only'] > 0
    losses['distill/only'].backward()
    reached = [n for n, p in distiller.student.named_parameters() if p.grad is not None]
    assert reached and all(
        p.grad is None for t in distiller.teachers.values() for p in t.model.parameters()
    )


def test_all_layers_can_be_linked_together(distill_model, batch):
    distill_model['links'] = {
        f'link{number}': crd(*channels, layer)
        for number, (layer, channels) in enumerate(LAYERS.items())
    }
    losses = build(distill_model).train()(**batch, mode='loss')
    assert {key for key in losses if key.startswith('distill/')} == {
        f'distill/link{number}' for number in range(len(LAYERS))
    }
    assert all(losses[key].isfinite() for key in losses if key.startswith('distill/'))


def test_voxels_are_shared_when_the_voxelisation_is_equal(distill_model, batch):
    distiller = build(distill_model).train()
    calls = []
    for model in (distiller.student, distiller.teachers['teacher'].model):
        model.pts_voxel_layer.register_forward_hook(lambda *_: calls.append(1))
    shared = distiller(**batch, mode='loss')['distill/neck_attention']
    assert len(calls) == 2  # one for each cloud
    alone = copy.deepcopy(distill_model)
    alone['teacher']['config'].data_preprocessor.voxelize_cfg.max_voxels = [29999, 39999]
    alone = build(alone).train()
    alone.student.load_state_dict(distiller.student.state_dict())
    alone.teachers['teacher'].model.load_state_dict(
        distiller.teachers['teacher'].model.state_dict()
    )
    calls.clear()
    for model in (alone.student, alone.teachers['teacher'].model):
        model.pts_voxel_layer.register_forward_hook(lambda *_: calls.append(1))
    unshared = alone(**batch, mode='loss')['distill/neck_attention']
    assert len(calls) == 4
    torch.testing.assert_close(shared, unshared)


def test_a_teacher_of_other_feature_scales_gets_voxels_of_its_own(distill_model, batch):
    scaled = copy.deepcopy(distill_model)
    scaled['student'].data_preprocessor.voxelize_cfg.feature_scale = [1.0, 1.0, 1.0, 0.01, 6.0]
    distiller = build(scaled).train()
    calls = []
    for model in (distiller.student, distiller.teachers['teacher'].model):
        model.pts_voxel_layer.register_forward_hook(lambda *_: calls.append(1))
    distiller(**batch, mode='loss')
    assert len(calls) == 4  # two clouds, each for both


def test_teacher_ends_before_its_head(distill_model, batch):
    distiller = build(distill_model).train()
    teacher = distiller.teachers['teacher'].model
    heads = []
    teacher.bbox_head.register_forward_pre_hook(lambda *_: heads.append(1))
    for _ in range(3):
        distiller(**batch, mode='loss')
    assert len(heads) == 1  # the first pass runs to its end and counts the calls
    assert 'pred_instances_3d' not in batch['data_samples'][0]


def test_predictions_are_the_students(distill_model, batch):
    distiller = build(distill_model).eval()
    with torch.no_grad():
        mine = distiller(**copy.deepcopy(batch), mode='predict')
        alone = distiller.student(**copy.deepcopy(batch), mode='predict')
    for one, other in zip(mine, alone, strict=True):
        assert torch.equal(one.pred_instances_3d.scores_3d, other.pred_instances_3d.scores_3d)


def test_an_empty_cloud_and_a_frame_without_boxes_are_a_correct_step(distill_model, batch):
    distiller = build(distill_model).train()
    batch['inputs']['points'][1] = batch['inputs']['points'][1][:0]
    total, _ = distiller.parse_losses(distiller(**batch, mode='loss'))
    total.backward()
    assert total.isfinite()
    assert all(p.grad.isfinite().all() for p in distiller.parameters() if p.grad is not None)


def test_another_detector_is_told_to_use_the_plain_distiller(distill_model):
    distill_model['teacher'] = dict(
        config='mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py',
        allow_random_weights=True,
    )
    with pytest.raises(ValueError, match="the teacher is VoxelNet; use type='Distiller'"):
        distill_model['links'] = {}
        MODELS.build(distill_model)


def test_a_wrong_layer_lists_the_nearest(distill_model):
    distill_model['links']['neck_crd']['student'] = 'pts_nek[0]'
    with pytest.raises(KeyError, match=r"no layer 'pts_nek\[0\]'; nearest: \['pts_neck"):
        MODELS.build(distill_model)


@pytest.mark.parametrize('config', ['bevfusion_crd', 'bevfusion_crd_mini'])
@pytest.mark.parametrize('on', [['encoder_crd'], ['backbone_crd', 'neck_crd']])
def test_the_configs_layers_are_chosen_by_weight(config, on):
    cfg = load(f'distill/{config}.py')
    assert cfg.model.links.keys() > set(on)
    weights = {f'model.links.{name}.weight': int(name in on) for name in cfg.model.links}
    teacher = load(f'bevfusion/bevfusion_lidar_teacher{config.removeprefix("bevfusion_crd")}.py')
    cfg.merge_from_dict(weights)
    cfg.model.teacher = dict(config=teacher, allow_random_weights=True)
    distiller = MODELS.build(cfg.model)
    assert sorted(distiller.links) == sorted(on)
    student, teacher = distiller.student, distiller.teachers['teacher'].model
    for name in on:
        widths = distiller.links[name].loss.widths
        assert widths['student_channels'] == CHANNELS[name](student)
        assert widths['teacher_channels'] == CHANNELS[name](teacher)


# What each linked layer puts out, read off the layer behind it.
CHANNELS = {
    'encoder_crd': lambda model: model.pts_backbone.blocks[0][0].in_channels,
    'backbone_crd': lambda model: model.pts_neck.deblocks[1][0].in_channels,
    'neck_crd': lambda model: model.bbox_head.shared_conv.in_channels,
}
