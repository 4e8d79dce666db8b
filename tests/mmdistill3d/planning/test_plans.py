"""Two configs become a distillation config, or a reason why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mmdet3d.models import Det3DDataPreprocessor
from mmengine.config import Config
from torch import nn

from mmdistill.apis.preflight import Verdict, preflight
from mmdistill.teacher import read_config
from mmdistill3d.images import other_images
from mmdistill3d.planning import Request, make_plan, prepare, read_pair, write
from mmdistill3d.planning.calibrate import calibrate
from mmdistill3d.planning.prepare import texts

GOLDEN = Path(__file__).parent / 'written_best.txt'
TEACHER = 'configs/bevfusion/bevfusion_lidar_teacher_mini.py'
CHECKPOINT = TEACHER.replace('.py', '.pth')
STUDENT = 'configs/bevfusion/bevfusion_lidar_student_mini.py'
CENTRE = 'configs/centerpoint/centerpoint_pillar_mini.py'
ANCHORS = 'configs/pointpillars/pointpillars_mini.py'
KITTI = 'mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py'
TWO_STAGES = 'mmdet3d::pv_rcnn/pv_rcnn_8xb2-80e_kitti-3d-3class.py'


def test_the_mini_pair_is_written_as_by_hand(tmp_path):
    out = Path('configs/distill/mine.py')
    said = []
    prepared = prepare(Request(TEACHER, CHECKPOINT, STUDENT, out=out), say=said.append)
    assert texts(prepared) == {out: GOLDEN.read_text()}
    assert len(GOLDEN.read_text().splitlines()) <= 40
    elsewhere = replace(prepared, request=replace(prepared.request, out=tmp_path / 'mine.py'))
    runs = [write(elsewhere)[0], 'configs/distill/bevfusion_best_mini.py']
    runs = [Config.fromfile(path).to_dict() for path in runs]
    runs[1].pop('links')  # a name of its base
    assert runs[0] == runs[1]
    assert 'pts_neck[0]: 128 x 64 x 64, cells 0.8 m, stride 4' in said[0]
    assert 'pts_backbone[1] <- pts_backbone[1]' in said[1].partition('left out')[2]
    assert "start: the teacher's weights: 100% of the parameters" in said[1]
    links = {
        recipe: [link.name for link in make_plan(prepared.plan.pair, recipe).links]
        for recipe in ('response', 'features', 'crd')
    }
    assert links == dict(
        response=['transfusion_kd'],
        features=['neck_channel', 'neck_feature'],
        crd=['neck_crd'],
    )
    (contrast,) = make_plan(prepared.plan.pair, 'crd').links
    by_hand = Config.fromfile('configs/distill/bevfusion_crd_mini.py').model.links.neck_crd.loss
    assert contrast.config['loss'] == {
        **by_hand.to_dict(),
        'granularity': dict(type='object', num_classes=10),
    }
    left = {student: why for student, _, why in prepared.plan.left}
    assert 'links what these heads answer alone' in left['pts_neck[0]']
    plan = make_plan(replace(prepared.plan.pair, no_start='the start failed'), 'best')
    assert [link.name for link in plan.links] == ['transfusion_kd', 'neck_feature', 'neck_crd']
    assert (plan.inherits, plan.start) == (False, 'the start failed')
    backbone = prepared.plan.pair.student.model.pts_backbone
    backbone.__class__ = type('OtherBackbone', (type(backbone),), {})
    plan = make_plan(prepared.plan.pair, 'best')  # without the start features and CRD help
    assert [link.name for link in plan.links] == ['transfusion_kd', 'neck_feature', 'neck_crd']
    assert (plan.inherits, plan.start) == (
        False,
        "the student's backbone is OtherBackbone, the teacher's SECOND",
    )


def test_a_students_config_in_pure_python_is_refused_before_any_work(tmp_path):
    lazy = tmp_path / 'lazy.py'
    lazy.write_text(
        'from mmengine.config import read_base\n\nwith read_base():\n    from .base import *\n'
    )
    with pytest.raises(ValueError, match='lazy.py is a config in pure Python.*in text'):
        prepare(Request(TEACHER, CHECKPOINT, str(lazy)))


def test_images_that_are_prepared_otherwise_are_no_start():
    def detector(style, **settings):
        model = nn.Module()
        model.data_preprocessor = Det3DDataPreprocessor(**settings)
        model.backbone = nn.Module()
        model.backbone.style = style
        return model

    caffe = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False)
    torch_like = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
    different = other_images(detector('pytorch', **torch_like), detector('caffe', **caffe))
    assert "bgr_to_rgb True, the teacher's False" in different and 'style pytorch' in different
    assert other_images(detector('caffe', **caffe), detector('caffe', **caffe)) is None
    assert other_images(detector('caffe'), detector('pytorch')) is None  # no images


def test_a_derived_student_passes_the_preflight(tmp_path, random_weights):
    out = tmp_path / 'mine.py'
    request = Request(CENTRE, random_weights(CENTRE), width=0.5, out=out)
    said = []
    prepared = prepare(request, say=said.append)
    written = write(prepared)
    assert written == [tmp_path / 'mine_student.py', out]
    assert 'GMACs' in said[2]
    with pytest.raises(FileExistsError, match='mine.py exists: name another file'):
        prepare(request)
    cfg = Config.fromfile(out)
    assert Config.fromfile(written[0]).model == prepared.cfg.model
    assert cfg.model == prepared.plan.model(str(written[0]), prepared.teacher)
    cfg.train_dataloader.dataset.data_root = 'data/nothing/'
    found = [(check, finding) for check, finding in preflight(cfg)]
    checks = [check for check, finding in found if finding.verdict is Verdict.FAILED]
    assert set(checks) <= {'data'}, [finding.as_text(check) for check, finding in found]
    steps = ' '.join(finding.as_text(check) for check, finding in found if check == 'step')
    assert 'link head_kd' in steps and 'link neck_feature' in steps


def test_a_student_wider_than_its_teacher_is_linked_as_one_at_random_weights(random_weights):
    plan = prepare(Request(STUDENT, random_weights(STUDENT), TEACHER)).plan
    assert [link.name for link in plan.links] == ['transfusion_kd', 'neck_feature', 'neck_crd']
    assert not plan.inherits and "the teacher's weights fit 0% of the parameters" in plan.start


def test_an_anchor_head_leaves_the_boxes_for_the_mask(random_weights):
    request = Request(ANCHORS, random_weights(ANCHORS), width=0.5, depth=0.5, recipe='features')
    assert [link.name for link in prepare(request).plan.links] == ['neck_channel', 'neck_feature']


def test_between_families_features_alone_are_linked():
    plan = prepare(Request(TEACHER, CHECKPOINT, CENTRE)).plan
    assert [link.name for link in plan.links] == ['neck_feature']
    left = {student: why for student, _, why in plan.left}
    assert 'CenterHead (centre) and TransFusionHead (TransFusion)' in left['pts_bbox_head']
    assert not plan.inherits and 'PointPillarsScatter' in plan.start
    with pytest.raises(ValueError, match="no link of the recipe 'response' fits this pair"):
        make_plan(plan.pair, 'response')
    with pytest.raises(ValueError, match='begins at random weights.*--calibrate STUDENT.pth'):
        calibrate(plan, {}, read_config(CENTRE, 'student'))


def test_heads_of_other_anchors_are_not_linked_and_widths_are_written_for_sparse_encoders(
    random_weights,
):
    second = 'mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py'
    pair = read_pair(read_config(KITTI, 'student'), KITTI, second, random_weights(second))
    plan = make_plan(pair, 'best')
    link = plan.links[0]
    assert link.config['student_connector'] == dict(
        type='ConvConnector', in_channels=384, out_channels=512
    )
    assert link.config['teacher_connector']['size'] == (248, 216)
    assert 'both heads need the same anchors' in plan.left[0][2]
    portable = read_pair(
        read_config('configs/second/second_kitti.py', 'student'),
        KITTI,
        second,
        random_weights(second),
    )
    assert make_plan(portable, 'best').inherits  # its encoder takes the weights of MMDetection3D's
    loss = make_plan(pair, 'crd').links[0].config['loss']
    assert (loss['teacher_channels'], loss['granularity']['num_classes']) == (512, 3)


def test_detectors_that_see_different_ground_are_refused(tmp_path, random_weights, repository):
    student = tmp_path / 'elsewhere.py'
    student.write_text(
        f"_base_ = ['{repository / CENTRE}']\n"
        'limits = [30.0, -25.6, -5.0, 81.2, 25.6, 3.0]\n'
        'model = dict(data_preprocessor=dict(voxel_layer=dict(point_cloud_range=limits)))\n'
    )
    with pytest.raises(ValueError, match='no range in common: the student sees.*30.0, -25.6, 81.2'):
        prepare(Request(CENTRE, random_weights(CENTRE), str(student)))


@pytest.mark.parametrize(
    ('request_', 'error', 'reason'),
    [
        (Request('configs/nothing.py', CHECKPOINT, STUDENT), FileNotFoundError, 'nothing.py'),
        (Request(TEACHER, 'nothing.pth', STUDENT), FileNotFoundError, 'nothing.pth'),
        (Request(CENTRE, CHECKPOINT, STUDENT), ValueError, 'do not fit CenterPoint'),
        (Request(TEACHER, CHECKPOINT, KITTI), ValueError, 'no class in common.*Pedestrian'),
        (
            Request(TWO_STAGES, CHECKPOINT, KITTI),
            ValueError,
            'two stages.*PVRCNNRoiHead.*AnchorHeadKDLoss at rpn_head, RoIHeadKDLoss',
        ),
    ],
)
def test_a_pair_that_cannot_be_distilled_ends_with_the_reason(request_, error, reason):
    with pytest.raises(error, match=reason):
        prepare(request_)
