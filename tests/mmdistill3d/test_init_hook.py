"""The mini student starts from the mini teacher's weights."""

import copy

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmdistill.inherit import inherit
from mmdistill3d import Det3DInitHook
from tests.mmdistill3d.conftest import load

CLASSES = tuple('abcdefghij')  # of both data sets
HEAD_OUTPUTS = ('center', 'height', 'dim', 'rot', 'vel', 'heatmap', 'dense_heatmap')


@pytest.fixture
def pair(distill_model):
    """Student and teacher with random norms, too, in eval mode."""
    torch.manual_seed(0)
    models = [MODELS.build(distill_model['student']), MODELS.build(distill_model['teacher'].config)]
    for model in models:
        model.dataset_meta = dict(classes=CLASSES)
        model.init_weights()
        for norm in (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                tensor.data.copy_(torch.rand_like(tensor) + 0.5)
    return [model.eval() for model in models]


def start(student, teacher):
    return inherit(student, teacher, **Det3DInitHook().correspondence(student, teacher))


def outputs(model, batch):
    with torch.no_grad():
        return model(batch['inputs'], batch['data_samples'], mode='tensor')[0][0]


def silence_second_halves(teacher):
    """Let the teacher compute nothing with the channels that the student has not.

    Silent are the second halves of all norms and of ``shared_conv``; residual blocks that the
    student has not pass on what they get.
    """
    with torch.no_grad():
        for part in (teacher.pts_middle_encoder, teacher.pts_backbone, teacher.pts_neck):
            for layer in part.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    layer.weight[len(layer.weight) // 2 :] = 0
                    layer.bias[len(layer.bias) // 2 :] = 0
        for stage in teacher.pts_middle_encoder.encoder_layers:
            stage[1].bn2.weight.zero_()
            stage[1].bn2.bias.zero_()
        shared, hidden = teacher.bbox_head.shared_conv, teacher.bbox_head.heatmap_head[0]
        shared.weight[32:] = 0
        shared.bias[32:] = 0
        hidden.bn.weight[32:] = 0
        hidden.bn.bias[32:] = 0


def test_an_equal_student_gives_the_teachers_outputs(pair, batch):
    _, teacher = pair
    student = copy.deepcopy(teacher)
    for parameter in student.parameters():
        nn.init.normal_(parameter)
    report = start(student, teacher)
    assert report.count('left') == report.count('sliced') == 0
    mine, theirs = outputs(student, batch), outputs(teacher, batch)
    assert all(torch.equal(mine[key], theirs[key]) for key in HEAD_OUTPUTS)


def test_half_a_teacher_whose_other_half_is_silent_gives_its_heatmap(pair, batch):
    student, teacher = pair
    silence_second_halves(teacher)
    shapes = {key: value.shape for key, value in student.state_dict().items()}
    start(student, teacher)
    mine, theirs = outputs(student, batch), outputs(teacher, batch)
    assert theirs['dense_heatmap'].std() > 1e-3
    torch.testing.assert_close(mine['dense_heatmap'], theirs['dense_heatmap'], rtol=1e-4, atol=1e-5)
    assert {key: value.shape for key, value in student.state_dict().items()} == shapes


def test_half_an_attention_whose_other_half_is_silent_gives_its_output(pair):
    student, teacher = pair
    start(student, teacher)
    mine = student.bbox_head.decoder[0].cross_attn
    theirs = teacher.bbox_head.decoder[0].cross_attn
    silent = [channel for channel in range(64) if channel % 16 >= 8]  # of four heads
    with torch.no_grad():
        for tensor in (*theirs.attn.in_proj_weight.chunk(3), *theirs.attn.in_proj_bias.chunk(3)):
            tensor[silent] = 0
    tokens = torch.randn(3, 2, 9, 32)
    wide = torch.cat([tokens, torch.zeros_like(tokens)], dim=-1)
    zero = torch.zeros(2, 9, 1)
    with torch.no_grad():
        got = mine(*tokens, query_pos=zero, key_pos=zero)
        expected = theirs(*wide, query_pos=zero, key_pos=zero)[..., :32]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_the_mini_student_inherits_every_layer(pair):
    student, teacher = pair
    correspondence = Det3DInitHook().correspondence(student, teacher)
    assert correspondence['grouped_inputs'] == {
        'pts_backbone.blocks.0.0': dict(inner=2),
        'bbox_head.shared_conv': dict(student=(32, 32), teacher=(64, 64)),
    }
    stages = 'pts_middle_encoder.encoder_layers.encoder_layer'
    assert correspondence['names'] == {f'{stages}{n}.1': f'{stages}{n}.2' for n in (1, 2)}
    report = inherit(student, teacher, **correspondence)
    assert report.left() == {}
    down = student.pts_middle_encoder.encoder_layers.encoder_layer1[1][0].weight
    theirs = teacher.pts_middle_encoder.encoder_layers.encoder_layer1[2][0].weight
    assert torch.equal(down, theirs[:16, ..., :8])


def test_a_map_of_other_heights_keeps_its_own_first_convolution(pair):
    student, teacher = pair
    teacher.pts_backbone.blocks[0][0] = nn.Conv2d(64 * 3, 64, 3, bias=False)
    correspondence = Det3DInitHook().correspondence(student, teacher)
    assert list(correspondence['exclude']) == ['pts_backbone.blocks.0.0']
    assert 'pts_backbone.blocks.0.0' not in correspondence['grouped_inputs']


def test_heights_of_something_else_of_a_box_are_not_inherited(pair):
    student, teacher = pair
    teacher.bbox_head.bbox_coder.height_of = 'top'
    before = {k: v.clone() for k, v in student.state_dict().items() if '.height.' in k}
    report = start(student, teacher)
    kept = {k: v for k, v in student.state_dict().items() if k in before}
    assert before and all(torch.equal(before[key], kept[key]) for key in before)
    left = report.left()
    assert all('.prediction_heads.0.height.' in name for name in left) and left
    assert set(left.values()) == {
        "its heights are those of a box's centre, the teacher's of its top"
    }


def test_centre_and_anchor_heads_read_a_concatenation_too():
    model = load('centerpoint/centerpoint_pillar_mini.py').model
    center = MODELS.build(model)
    layouts = Det3DInitHook().correspondence(center, center)['grouped_inputs']
    widths = tuple(model.pts_neck.out_channels)
    assert layouts['pts_bbox_head.shared_conv.conv'] == dict(student=widths, teacher=widths)


def test_kernels_of_maps_with_exchanged_axes_are_refused(pair):
    center = MODELS.build(load('centerpoint/centerpoint_pillar_mini.py').model)
    with pytest.raises(ValueError, match=r'the student \(CenterPoint\) are yx, .*\(BEVFusion\) xy'):
        Det3DInitHook().correspondence(center, pair[1])
