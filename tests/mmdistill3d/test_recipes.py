"""Full-scale distillation configs: one recipe fits every student, named by one option."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from tests.mmdistill3d.conftest import CONFIGS, load

STUDENTS = sorted(
    path.stem.removeprefix('bevfusion_lidar_student_')
    for path in (CONFIGS / 'bevfusion').glob('*_student_*.py')
    if not path.stem.endswith('_mini')
)


def recipe(name, student='s'):
    """A recipe's config for another student, as ``--cfg-options`` makes it."""
    cfg = load(f'distill/bevfusion_{name}.py')
    path = CONFIGS / f'bevfusion/bevfusion_lidar_student_{student}.py'
    cfg.merge_from_dict({'model.student.config': str(path)})
    teacher = str(CONFIGS / 'bevfusion/bevfusion_lidar_teacher.py')
    cfg.model.teacher = dict(config=teacher, allow_random_weights=True)
    return cfg


@pytest.mark.parametrize('student', STUDENTS)
def test_recipes_read_the_widths_of_every_student(student):
    assert list(MODELS.build(recipe('best', student).model).links) == ['transfusion_kd']
    model = recipe('crd', student).model
    assert list(MODELS.build(model).links) == ['neck_crd']
    model.links.neck_feature.weight = 1
    distiller = MODELS.build(model)
    neck = sum(load(f'bevfusion/bevfusion_lidar_student_{student}.py').model.pts_neck.out_channels)
    assert distiller.links['neck_feature'].student_connector[0].widths == dict(
        in_channels=neck, out_channels=512
    )


def test_crd_reads_the_widths_of_every_layer():
    cfg = recipe('crd', 'balanced')
    for link in cfg.model.links.values():
        link.weight = 1
    links = MODELS.build(cfg.model).links
    widths = {name: links[f'{name}_crd'].loss.widths for name in ('encoder', 'backbone', 'neck')}
    assert widths == dict(
        encoder=dict(student_channels=192, teacher_channels=256),
        backbone=dict(student_channels=160, teacher_channels=256),
        neck=dict(student_channels=320, teacher_channels=512),
    )


@pytest.mark.parametrize('name', ['crd', 'best'])
def test_recipes_keep_the_published_schedule(name):
    cfg = load(f'distill/bevfusion_{name}.py')
    base = load('bevfusion/bevfusion_lidar_teacher.py')
    for key in ('train_dataloader', 'optim_wrapper', 'param_scheduler', 'train_cfg'):
        assert cfg[key] == base[key], key
    assert cfg.train_dataloader.dataset.type == 'CBGSDataset'
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=32)
    hooks = [hook.type for hook in cfg.custom_hooks]
    assert hooks[0] == 'FadeObjectSampleHook'
    assert {'DistillHook', 'StudentCheckpointHook'} <= set(hooks)


def test_the_variant_for_one_gpu_changes_loading_alone():
    base, single = load('distill/bevfusion_best.py'), load('distill/bevfusion_best_1xb4.py')
    assert {key for key in base if single[key] != base[key]} == {'train_dataloader'}


@pytest.mark.parametrize('name', ['crd', 'best'])
def test_a_student_on_coarser_voxels_takes_a_step(name, batch):
    """The recipe's links join maps of other cells, at a fifth of the range."""
    cfg = recipe(name)
    reach = [-10.8, -10.8, -5.0, 10.8, 10.8, 3.0]
    student = load('bevfusion/bevfusion_lidar_student_xxs.py').model
    teacher = load('bevfusion/bevfusion_lidar_teacher.py').model
    for model in (student, teacher):
        model.data_preprocessor.voxelize_cfg.point_cloud_range = reach
        model.bbox_head.num_proposals = 20
    student.data_preprocessor.voxelize_cfg.voxel_size = [0.09, 0.09, 0.2]
    cfg.model.student = student
    cfg.model.teacher = dict(config=dict(teacher), allow_random_weights=True)
    distiller = MODELS.build(cfg.model)
    head = distiller.teachers['teacher'].model.bbox_head
    nn.init.ones_(head.heatmap_head[-1].bias)  # of random weights, but it sees something
    distiller.prepare(num_samples=20)
    losses = distiller(**distiller.data_preprocessor(batch, True), mode='loss')
    active = {f'distill/{key}' for key, link in cfg.model.links.items() if link.get('weight', 1)}
    assert active <= set(losses)
    assert all(torch.isfinite(losses[key]) and losses[key] > 0 for key in active)
    sum(value for key, value in losses.items() if 'loss' in key or key in active).backward()
