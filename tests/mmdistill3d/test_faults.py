"""What goes wrong in practice, on BEVFusion: each fault is a clear error or a correct step."""

import resource

import pytest
import torch
from mmengine.registry import MODELS

from mmdistill.utils.files import written_whole


@pytest.fixture
def teacher_file(teacher_model, tmp_path):
    path = tmp_path / 'teacher.pth'
    torch.save(dict(state_dict=MODELS.build(teacher_model).state_dict()), path)
    return path


def build(config):
    distiller = MODELS.build(config)
    distiller.init_weights()
    distiller.prepare(num_samples=6)
    return distiller.train()


def step(distiller, batch):
    """One optimisation step; returns the total loss and whether every gradient is finite."""
    total, _ = distiller.parse_losses(distiller(**batch, mode='loss'))
    total.backward()
    gradients = [p.grad for p in distiller.parameters() if p.grad is not None]
    return total.detach(), all(grad.isfinite().all() for grad in gradients)


def test_wrong_path(distill_model):
    distill_model.links.neck_crd.teacher = 'pts_neck.deblock'
    with pytest.raises(KeyError, match=r"the teacher .*'pts_neck.deblock'.*pts_neck.deblocks"):
        MODELS.build(distill_model)


def test_wrong_shape(distill_model):
    distill_model.links.neck_feature.student_connector.in_channels = 48
    with pytest.raises(ValueError, match=r"link 'neck_feature'.*in_channels=48.*\(1, 64, 32, 32\)"):
        MODELS.build(distill_model)


def test_maps_of_two_strides_meet_where_the_student_has_cells(distill_model, batch):
    distill_model.links.neck_attention.teacher = 'pts_backbone[1]'
    loss, gradients_are_finite = step(build(distill_model), batch)
    assert loss.isfinite() and gradients_are_finite


def test_wrong_teacher_file(distill_model, teacher_model, teacher_file):
    content = torch.load(teacher_file)
    wide = content['state_dict']['pts_neck.deblocks.0.0.weight']
    content['state_dict']['pts_neck.deblocks.0.0.weight'] = wide[:32]
    del content['state_dict']['bbox_head.shared_conv.bias']
    torch.save(content, teacher_file)
    distill_model.teacher = dict(config=teacher_model, checkpoint=str(teacher_file))
    with pytest.raises(ValueError, match=r'(?s)missing.*shared_conv.bias.*deblocks.0.0.weight'):
        build(distill_model)


def test_truncated_checkpoint(distill_model, teacher_model, teacher_file):
    teacher_file.write_bytes(teacher_file.read_bytes()[:100_000])
    distill_model.teacher = dict(config=teacher_model, checkpoint=str(teacher_file))
    with pytest.raises(ValueError, match=r'teacher.pth cannot be read as a checkpoint.*cut short'):
        build(distill_model)


def test_nan_in_a_teacher_feature(distill_model, batch):
    distill_model.links = dict(crd=dict(distill_model.links.backbone_crd, weight=1))
    distiller = build(distill_model)

    def spoil(_module, _args, output):
        output[1][1, 0, 3, 3] = torch.nan
        return output

    distiller.teachers['teacher'].model.pts_backbone.register_forward_hook(spoil)
    total, gradients_are_finite = step(distiller, batch)
    memory = distiller.links['crd'].loss.memory
    assert total.isfinite() and gradients_are_finite
    assert memory.num_skipped == 1
    assert memory.teacher_bank.isfinite().all() and memory.student_bank.isfinite().all()


def test_teacher_and_student_with_other_class_lists(distill_model, batch):
    """Links between features do not read classes: a teacher of three classes teaches them."""
    distill_model.teacher.config.bbox_head.num_classes = 3
    total, gradients_are_finite = step(build(distill_model), batch)
    assert total.isfinite() and gradients_are_finite


@pytest.mark.parametrize('empty', [[0], [1], [0, 1]])
def test_empty_point_clouds(distill_model, batch, empty):
    for number in empty:
        batch['inputs']['points'][number] = batch['inputs']['points'][number][:0]
    total, gradients_are_finite = step(build(distill_model), batch)
    assert total.isfinite() and gradients_are_finite


def test_frames_without_boxes(distill_model, batch):
    for sample in batch['data_samples']:
        sample.gt_instances_3d = sample.gt_instances_3d[:0]
    total, gradients_are_finite = step(build(distill_model), batch)
    assert total.isfinite() and gradients_are_finite


def test_disk_full_while_a_student_is_saved(tmp_path):
    target = tmp_path / 'epoch_1_student.pth'
    torch.save(dict(state_dict=dict(a=torch.ones(1))), target)
    before = target.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # no file may grow further
    try:
        with pytest.raises((OSError, RuntimeError)), written_whole(target) as partial:
            torch.save(dict(state_dict=dict(a=torch.ones(100_000))), partial)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
