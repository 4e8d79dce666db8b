"""Channels sorted by importance: the teacher computes what it did, the student gets the best."""

import copy

import pytest
import torch
from mmcv.ops import ModulatedDeformConv2dPack
from mmengine.registry import MODELS
from torch import nn
from torch.utils._pytree import tree_leaves

from mmdistill.channel_order import importance, sort_channels
from mmdistill3d import Det3DInitHook
from mmdistill3d.channel_groups import channel_groups
from mmdistill3d.examples import cloud_batch
from mmdistill3d.parts import part_of
from tests.mmdistill3d.conftest import load

TEACHERS = {
    # groups of channels: of the encoder, the backbone, the neck, and the branches of the head
    'bevfusion/bevfusion_lidar_teacher_mini.py': 29,
    'second/second_teacher_kitti_mini.py': 17,
    'pointpillars/pointpillars_teacher_kitti_mini.py': 13,
    'centerpoint/centerpoint_pillar_teacher_mini.py': 49,
}


@pytest.fixture(params=TEACHERS, ids=lambda name: name.split('/')[0])
def teacher(request):
    """A teacher whose norms differ from channel to channel, and how many groups it has."""
    torch.manual_seed(0)
    model = MODELS.build(load(request.param).model)
    for norm in (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.data.copy_(torch.rand_like(tensor) + 0.5)
    return model.eval(), TEACHERS[request.param]


def outputs(model):
    """What the head answers of a made-up frame."""
    batch = model.data_preprocessor(cloud_batch(model, samples=1, points=2000), False)
    seen = []
    head = part_of(model, 'bbox_head')[1].register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad():
        model(**batch, mode='predict')
    head.remove()
    return [value for value in tree_leaves(seen) if isinstance(value, torch.Tensor)]


def sorted_in(model, part):
    """Layers of a part that write channels of a group."""
    layers = [writer.layer for group in channel_groups(model) for writer in group.writers]
    return [layer for layer in layers if layer.startswith(part)]


def test_a_sorted_teacher_computes_what_it_did(teacher):
    model, number = teacher
    groups = channel_groups(model)
    assert len(groups) == number
    copied = copy.deepcopy(model)
    sort_channels(copied, groups)
    before, after = model.state_dict(), copied.state_dict()
    assert sum(not torch.equal(before[key], after[key]) for key in before) > number
    for expected, actual in zip(outputs(model), outputs(copied), strict=True):
        assert expected.numel() and expected.isfinite().all()
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)
    layers = dict(copied.named_modules())
    for group in groups:
        assert (importance(layers, group).diff() <= 0).all(), group


def test_every_layer_that_reads_the_neck_is_named():
    model = MODELS.build(load('second/second_teacher_kitti_mini.py').model)
    readers = {
        reader.layer: reader.start
        for group in channel_groups(model)
        for reader in group.readers
        if reader.layer.startswith('bbox_head')
    }
    assert readers == {f'bbox_head.conv_{part}': 64 for part in ('cls', 'reg', 'dir_cls')}


def test_channels_that_an_unknown_layer_reads_too_keep_their_order():
    model = MODELS.build(load('second/second_teacher_kitti_mini.py').model)
    before = len(channel_groups(model))
    model.bbox_head.conv_iou = nn.Conv2d(128, 2, 1)
    assert len(channel_groups(model)) == before - 2
    assert not sorted_in(model, 'neck')
    model.bbox_head.conv_iou = ModulatedDeformConv2dPack(128, 2, 1)
    assert not sorted_in(model, 'neck')
    model.middle_encoder.point_fc = nn.Linear(64, 2)
    assert not sorted_in(model, 'middle_encoder')


def test_an_encoder_that_computes_something_else_keeps_its_order():
    model = MODELS.build(load('second/second_teacher_kitti_mini.py').model)

    class Renamed(type(model.middle_encoder)):
        pass

    class Other(type(model.middle_encoder)):
        def forward(self, *args):
            return super().forward(*args).flip(1)

    model.middle_encoder.__class__ = Renamed
    assert sorted_in(model, 'middle_encoder')
    model.middle_encoder.__class__ = Other
    assert not sorted_in(model, 'middle_encoder')
    assert sorted_in(model, 'backbone')


def test_a_student_gets_the_important_channels_and_the_teacher_keeps_its_own(distill_model):
    """Inside a residual block whose last channels are the loudest."""
    torch.manual_seed(0)
    distiller = MODELS.build(distill_model)
    teacher, student = distiller.teachers['teacher'].model, distiller.student
    name = 'pts_middle_encoder.encoder_layers.encoder_layer1.0.bn1'
    loud = teacher.get_submodule(name)
    loud.weight.data = torch.arange(1.0, len(loud.weight) + 1)
    before = copy.deepcopy(teacher.state_dict())
    Det3DInitHook().start(distiller)
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    mine = student.get_submodule(name).weight
    assert mine[0] == 16 and mine.sum() > 0.9 * sum(range(9, 17)), mine
    Det3DInitHook(channels='first').start(distiller)
    assert student.get_submodule(name).weight.tolist() == list(range(1, len(mine) + 1))


def test_channels_that_a_student_gets_whole_keep_their_order(distill_model):
    """Links may compare them one by one."""
    distiller = MODELS.build(distill_model)
    teacher, student = distiller.teachers['teacher'].model, distiller.student
    assert Det3DInitHook(channels='important').source(teacher, teacher) is teacher
    student.pts_backbone = copy.deepcopy(teacher.pts_backbone)
    source = Det3DInitHook().source(student, teacher).state_dict()
    before = teacher.state_dict()
    moved = {key.partition('.')[0] for key in before if not torch.equal(before[key], source[key])}
    assert 'pts_middle_encoder' in moved
    inner = [key for key in before if key.startswith('pts_backbone.blocks') and '.0.0.' not in key]
    assert len(inner) > 10 and all(torch.equal(before[key], source[key]) for key in inner)


def test_norms_of_other_kinds_are_not_sorted():
    model = MODELS.build(load('centerpoint/centerpoint_pillar_mini.py').model)
    before = len(channel_groups(model))
    layer = model.pts_voxel_encoder.pfn_layers[0]
    layer.norm = nn.GroupNorm(4, layer.norm.num_features)
    assert len(channel_groups(model)) == before - 1


def test_a_detector_with_further_parts_keeps_its_order(monkeypatch):
    said = []
    monkeypatch.setattr('mmdistill3d.init_hook.print_log', lambda text, **_: said.append(text))
    model = MODELS.build(load('second/second_teacher_kitti_mini.py').model)
    model.roi_head = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"VoxelNet has \['roi_head'\] beside "):
        channel_groups(model)
    with pytest.raises(ValueError, match=r"what its \['roi_head'\] read: take channels='first'"):
        Det3DInitHook(channels='important').source(model, model)
    assert Det3DInitHook().source(model, model) is model
    assert 'channels are taken in their order, as it is not known of VoxelNet what' in said[0]
    strangers = nn.ModuleDict(dict(backbone=nn.Conv2d(3, 4, 1)))
    with pytest.raises(ValueError, match='ModuleDict who reads the channels of its parts'):
        Det3DInitHook(channels='important').source(strangers, strangers)
    with pytest.raises(ValueError, match="None, 'first' or 'important', not 'best'"):
        Det3DInitHook(channels='best')
