"""A narrower student out of a detector's config."""

from __future__ import annotations

import copy

import pytest
from mmengine.config import Config

from mmdistill.classes import config_classes
from mmdistill.inherit import inherit
from mmdistill.teacher import read_config, read_model_config
from mmdistill3d import Det3DInitHook
from mmdistill3d.planning import narrow

from .conftest import build

TEACHER = 'configs/bevfusion/bevfusion_lidar_teacher_mini.py'
FAMILIES = [
    TEACHER,
    'configs/centerpoint/centerpoint_pillar_mini.py',
    'configs/pointpillars/pointpillars_mini.py',
    'configs/second/second_kitti_mini.py',
    'mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py',
    'mmdet3d::pointpillars/pointpillars_hv_fpn_sbn-all_8xb4-2x_nus-3d.py',
    'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py',
    'mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py',
]


def narrowed(config: str, **factors: float) -> Config:
    cfg = copy.deepcopy(read_config(config, 'student'))
    cfg.merge_from_dict(dict(model=narrow(cfg.model, **factors)))
    return cfg


def test_half_of_the_mini_teacher_is_the_mini_student():
    """But for its head and backbone, which the one written by hand keeps as deep."""
    mine = narrowed(TEACHER, width=0.5, depth=0.5).model
    by_hand = Config.fromfile('configs/bevfusion/bevfusion_lidar_student_mini.py').model
    assert mine.pts_middle_encoder == by_hand.pts_middle_encoder
    assert mine.pts_neck == by_hand.pts_neck and mine.bbox_head == by_hand.bbox_head
    assert mine.pts_backbone == {**by_hand.pts_backbone, 'layer_nums': [2, 2]}


@pytest.mark.parametrize('config', FAMILIES)
def test_a_narrow_student_inherits_every_layer(config):
    teacher = build(read_model_config(config, 'teacher'))
    student = build(read_model_config(narrowed(config, width=0.5, depth=0.6), 'student'))
    sizes = [sum(p.numel() for p in model.parameters()) for model in (student, teacher)]
    assert sizes[0] < 0.45 * sizes[1]
    for model in (student, teacher):
        model.dataset_meta = {'classes': config_classes(read_config(config, 'teacher'))}
    report = inherit(student, teacher, **Det3DInitHook().correspondence(student, teacher))
    assert not report.left()
    assert report.count('sliced') > 10


def test_what_has_no_rule_is_named():
    dcn = 'centerpoint/centerpoint_voxel01_second_secfpn_head-dcn_8xb4-cyclic-20e_nus-3d.py'
    with pytest.raises(ValueError, match=r'pts_bbox_head.separate_head \(DCNSeparateHead\)'):
        narrowed(f'mmdet3d::{dcn}', width=0.5)
    with pytest.raises(ValueError, match='above 0 and at most 1, got 1.5'):
        narrowed(TEACHER, width=1.5)
    with pytest.raises(ValueError, match='change nothing'):
        narrowed(TEACHER, width=0.99)
