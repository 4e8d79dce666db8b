"""Full-scale distillation configs: one recipe fits every student."""

import copy

import pytest
import torch
from mmengine.registry import MODELS

from mmdistill3d import fit_links
from tests.mmdistill3d.conftest import CONFIGS, load

PAIRS = sorted(
    path.stem
    for recipe in ('crd', 'best')
    for path in (CONFIGS / 'distill').glob(f'bevfusion_{recipe}*.py')
    if not path.stem.endswith(('_mini', '_amp', '_1xb4'))
)
STUDENTS = sorted(
    path.stem.removeprefix('bevfusion_lidar_student_')
    for path in (CONFIGS / 'bevfusion').glob('*_student_*.py')
    if not path.stem.endswith('_mini')
)


@pytest.mark.parametrize('recipe', ['crd', 'best'])
def test_every_student_has_a_config(recipe):
    named = {name.removeprefix(f'bevfusion_{recipe}').lstrip('_') or 's' for name in PAIRS}
    assert set(STUDENTS) <= named


@pytest.mark.parametrize('name', PAIRS)
def test_a_config_builds_with_the_published_schedule(name):
    cfg = load(f'distill/{name}.py')
    cfg.model.teacher = dict(cfg.model.teacher, checkpoint=None, allow_random_weights=True)
    MODELS.build(cfg.model)  # a wrong layer or option ends here
    base = load('bevfusion/bevfusion_lidar_teacher.py')
    for key in ('train_dataloader', 'optim_wrapper', 'param_scheduler', 'train_cfg'):
        assert cfg[key] == base[key], key
    assert cfg.train_dataloader.dataset.type == 'CBGSDataset'
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=32)
    hooks = [hook.type for hook in cfg.custom_hooks]
    assert hooks[0] == 'FadeObjectSampleHook'
    assert {'DistillHook', 'StudentCheckpointHook'} <= set(hooks)


@pytest.mark.parametrize('recipe', ['crd', 'best'])
def test_variants_change_precision_and_loading_alone(recipe):
    base = load(f'distill/bevfusion_{recipe}.py')
    amp = load(f'distill/bevfusion_{recipe}_amp.py')
    single = load(f'distill/bevfusion_{recipe}_1xb4.py')
    assert amp.optim_wrapper.type == 'AmpOptimWrapper'
    assert {key for key in base if amp[key] != base[key]} == {'optim_wrapper'}
    assert {key for key in base if single[key] != base[key]} == {'train_dataloader'}


@pytest.fixture
def recipe():
    return dict(
        crd=dict(
            student='pts_backbone[1]',
            teacher='pts_backbone[1]',
            loss=dict(type='CRDLoss', student_channels=1, teacher_channels=1),
        ),
        masked=dict(
            student='pts_neck[0]',
            teacher=dict(layer='pts_neck[0]', clone=True),
            student_connector=[
                dict(type='ConvConnector', in_channels=1, out_channels=48),
                dict(type='ConvConnector', in_channels=1, out_channels=1),
            ],
            mask=dict(type='BoxMask', point_cloud_range=[0] * 6),
            loss=dict(type='FitNetLoss'),
        ),
        scales=dict(
            student='pts_backbone',
            teacher='pts_backbone',
            student_connector=[
                dict(type='ConcatConnector', in_channels=[1, 1]),
                dict(type='ConvConnector', in_channels=1, out_channels=1),
            ],
            teacher_connector=dict(type='ConcatConnector', in_channels=[1, 1]),
            loss=dict(type='FitNetLoss'),
        ),
        stage=dict(
            student='pts_middle_encoder.encoder_layers.encoder_layer2',
            teacher='pts_middle_encoder.encoder_layers.encoder_layer2',
            teacher_connector=dict(type='SparseLinearConnector', in_channels=1, out_channels=1),
            loss=dict(type='SparseFeatureLoss'),
        ),
        queries=dict(
            student='bbox_head[0][0]',
            teacher='bbox_head[0][0]',
            loss=dict(type='TransFusionKDLoss', loss_weight=0.25),
        ),
    )


@pytest.fixture
def teacher():
    return load('bevfusion/bevfusion_lidar_teacher.py').model


def test_channels_and_range_are_those_of_the_two_detectors(recipe, teacher):
    before = copy.deepcopy(recipe)
    student = load('bevfusion/bevfusion_lidar_student_balanced.py').model
    links = fit_links(recipe, student, teacher)
    assert links['crd']['loss'] == dict(type='CRDLoss', student_channels=160, teacher_channels=256)
    first, second = links['masked']['student_connector']
    assert (first['in_channels'], first['out_channels']) == (320, 48)
    assert (second['in_channels'], second['out_channels']) == (48, 512)
    assert links['masked']['mask']['point_cloud_range'] == [-54, -54, -5, 54, 54, 3]
    join, conv = links['scales']['student_connector']
    assert (join['in_channels'], conv['in_channels']) == ([80, 160], 240)
    assert conv['out_channels'] == 384
    assert links['scales']['teacher_connector']['in_channels'] == [128, 256]
    stage = links['stage']['teacher_connector']
    assert (stage['in_channels'], stage['out_channels']) == (64, 48)
    assert links['queries'] == recipe['queries']
    assert recipe == before


def test_maps_of_other_cells_are_resized_on_the_teachers_side(recipe, teacher):
    student = load('bevfusion/bevfusion_lidar_student_s_voxel0090.py').model
    links = fit_links(recipe, student, teacher)
    assert links['crd']['teacher_connector'][0] == dict(type='ResizeConnector', size=(75, 75))
    assert links['masked']['teacher_connector'][0] == dict(type='ResizeConnector', size=(150, 150))
    assert 'teacher_connector' not in links['queries']


@pytest.mark.parametrize('name', ['crd', 'best'])
def test_a_student_on_coarser_voxels_takes_a_step(name, teacher, batch):
    """The recipe's links join, at a fifth of the range."""
    cfg = load(f'distill/bevfusion_{name}_xxs.py')
    reach = [-10.8, -10.8, -5.0, 10.8, 10.8, 3.0]
    for model in (cfg.model.student, teacher):
        model.data_preprocessor.voxelize_cfg.point_cloud_range = reach
        model.bbox_head.num_proposals = 20
    cfg.model.student.data_preprocessor.voxelize_cfg.voxel_size = [0.09, 0.09, 0.2]
    cfg.model.links = fit_links(cfg.links, cfg.model.student, teacher)
    cfg.model.teacher = dict(config=dict(teacher), allow_random_weights=True)
    distiller = MODELS.build(cfg.model)
    distiller.prepare(num_samples=20)
    data = distiller.data_preprocessor(batch, True)
    losses = distiller(**data, mode='loss')
    active = {f'distill/{key}' for key, link in cfg.model.links.items() if link.get('weight', 1)}
    assert active <= set(losses)
    assert all(torch.isfinite(losses[key]) and losses[key] > 0 for key in active)
    sum(value for key, value in losses.items() if 'loss' in key or key in active).backward()
