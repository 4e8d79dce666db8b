"""Published checkpoints, made here from our own detector, give the same detections back."""

import copy
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import get_state_dict

from bevfusion.checkpoint import convert_weights
from mmdistill import Teacher

CONFIG = 'configs/bevfusion/bevfusion_lidar_student_mini.py'
# Ours to mit-han-lab/bevfusion's, in the order in which they are tried.
MIT_NAMES = (
    (r'^pts_middle_encoder\.', 'encoders.lidar.backbone.'),
    (r'^pts_backbone\.', 'decoder.backbone.'),
    (r'^pts_neck\.', 'decoder.neck.'),
    (r'^bbox_head\.', 'heads.object.'),
    (r'self_attn\.attn\.', 'self_attn.'),
    (r'cross_attn\.attn\.', 'multihead_attn.'),
    (r'ffn\.layers\.0\.0\.', 'linear1.'),
    (r'ffn\.layers\.1\.', 'linear2.'),
    (r'norms\.0\.', 'norm1.'),
    (r'norms\.1\.', 'norm2.'),
    (r'norms\.2\.', 'norm3.'),
)
CAMERA = {
    'encoders.camera.backbone.patch_embed.projection.weight': (8, 3, 4, 4),
    'encoders.camera.vtransform.dx': (3,),
    'fuser.0.weight': (64, 72, 3, 3),
    'heads.map.classifier.0.weight': (4, 4, 1, 1),
}


def mit_checkpoint(model, with_camera=False):
    """The model's weights as mit-han-lab/bevfusion would have saved them."""
    state = {}
    for key, value in model.state_dict().items():
        if re.search(r'prediction_heads\.\d+\.dim\.\d+\.\w+$', key):
            value = value[[1, 0, 2]]  # width, length, height
        if re.search(r'prediction_heads\.\d+\.rot\.\d+\.\w+$', key):
            value = -value[[1, 0]]  # sine and cosine of -yaw - pi / 2
        for ours, theirs in MIT_NAMES:
            key = re.sub(ours, theirs, key)
        state[key] = value.permute(1, 2, 3, 4, 0).contiguous() if value.dim() == 5 else value
    if with_camera:
        state |= {key: torch.randn(shape) for key, shape in CAMERA.items()}
    return {'meta': {'epoch': 20}, 'state_dict': state}


def build(seed, height_of='top'):
    torch.manual_seed(seed)
    cfg = Config.fromfile(CONFIG)
    cfg.model.bbox_head.bbox_coder.height_of = height_of
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


@pytest.fixture
def source(repository, monkeypatch):
    monkeypatch.chdir(repository)
    return build(seed=1)


@pytest.fixture
def convert(tmp_path, source):
    """``convert(checkpoint)`` -> the file that it is converted to, and the report."""

    def run(checkpoint, allow_missing=False):
        conversion = convert_weights(checkpoint['state_dict'], build(seed=3))
        out = tmp_path / 'new' / 'converted.pth'
        conversion.save(out, 'published.pth', allow_missing)
        return out, conversion.describe('published.pth')

    return run


def detections(model):
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(800, 5, generator=generator) * 2 - 1
    points[:, :2] *= 25
    sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes))
    with torch.no_grad():
        found = model.eval().predict({'points': [points]}, [copy.deepcopy(sample)])[0]
    return found.pred_instances_3d.bboxes_3d.tensor, found.pred_instances_3d.scores_3d


def assert_same_detections(model, other):
    for given, expected in zip(detections(model), detections(other), strict=True):
        assert torch.equal(given, expected)


@pytest.mark.parametrize('with_camera', [False, True])
def test_a_file_of_mit_han_lab_gives_the_same_detections(convert, source, with_camera):
    converted, report = convert(mit_checkpoint(source, with_camera))
    model = build(seed=2)
    load_checkpoint(model, str(converted), strict=True)
    assert_same_detections(model, source)
    assert f'mapped ({len(source.state_dict())})' in report
    assert '(kx, ky, kz, in, out)' in report
    assert 'encoders.lidar.backbone.* -> pts_middle_encoder.*' in report
    assert ('fuser.*: 1' in report) == with_camera
    assert ('trained on fused maps' in report) == with_camera


def test_the_lidar_branch_of_a_fusion_file_of_mmdetection3d(convert, source):
    state = source.state_dict()
    camera = ('img_backbone.a.weight', 'view_transform.dx', 'fusion_layer.0.weight')
    converted, report = convert({'state_dict': {**state, **dict.fromkeys(camera, torch.ones(1))}})
    model = build(seed=2)
    load_checkpoint(model, str(converted), strict=True)
    assert_same_detections(model, source)
    assert 'left out, no part of a LiDAR detector (3)' in report


def test_the_written_file_says_its_kernel_layout_to_mmdetection3ds_own_loader(convert, source):
    state = torch.load(convert(mit_checkpoint(source))[0])['state_dict']
    tags = state._metadata['pts_middle_encoder.conv_input.0']
    assert tags == source.state_dict()._metadata['pts_middle_encoder.conv_input.0']


def test_boxes_of_mit_han_lab_are_read_as_its_data_set_has_them(convert, source):
    """Codes by its formulas, out of a head that says nothing but them."""
    x, y, bottom, length, width, height, yaw = 3.0, -2.0, -1.85, 4.6, 1.9, 1.7, math.radians(30)
    centre = bottom + height / 2  # its data set takes this for the bottom,
    yaw_there = -yaw - math.pi / 2
    codes = dict(
        height=[centre + height / 2],  # and its coder this for the centre
        dim=[math.log(width), math.log(length), math.log(height)],
        rot=[math.sin(yaw_there), math.cos(yaw_there)],
    )
    checkpoint = mit_checkpoint(source)
    for name, code in codes.items():
        last = f'heads.object.prediction_heads.0.{name}.1'
        checkpoint['state_dict'][f'{last}.weight'] *= 0
        checkpoint['state_dict'][f'{last}.bias'] = torch.tensor(code)
    model = build(seed=2)
    load_checkpoint(model, str(convert(checkpoint)[0]), strict=True)
    with torch.no_grad():
        head = model.eval().bbox_head
        raw = head.prediction_heads[0](torch.zeros(1, head.shared_conv.out_channels, 1))
    start, cell = torch.tensor(head.bbox_coder.pc_range[:2]), 0.8
    place = ((torch.tensor([x, y]) - start) / cell).view(1, 2, 1)
    (box,) = head.bbox_coder.decode_boxes(
        raw['rot'], raw['dim'], place, raw['height'], raw.get('vel')
    )[0]
    expected = torch.tensor([x, y, bottom, length, width, height, yaw])
    torch.testing.assert_close(box[:7], expected)
    codes = head.bbox_coder.encode(torch.cat([expected, torch.zeros(2)])[None])[0]
    torch.testing.assert_close(codes[2], torch.tensor(centre + height / 2))


def test_a_detector_that_reads_heights_otherwise_refuses_the_file(convert, source):
    converted, report = convert(mit_checkpoint(source))
    assert 'Heights are of the tops of boxes' in report
    standard = build(seed=2, height_of='centre')
    with pytest.raises(ValueError, match="those of the top of a box.*set it to 'top'"):
        load_checkpoint(standard, str(converted), strict=True)
    with pytest.raises(ValueError, match='height_of'):
        convert_weights(mit_checkpoint(source)['state_dict'], standard)
    with pytest.raises(ValueError, match='height_of'):
        standard.load_state_dict(get_state_dict(source))  # as a run of it saves them
    with pytest.raises(ValueError, match='height_of'):
        Teacher(CONFIG, str(converted)).load()


@pytest.mark.parametrize('fault', ['missing', 'unknown', 'other shape'])
def test_a_file_that_does_not_fit_is_written_only_on_request(convert, source, fault):
    checkpoint = mit_checkpoint(source)
    state, key = checkpoint['state_dict'], 'heads.object.shared_conv.weight'
    if fault == 'missing':
        del state[key]
    elif fault == 'unknown':
        key = 'heads.object.extra.weight'
        state[key] = torch.ones(1)
    else:
        state[key] = state[key][:5]
    with pytest.raises(ValueError, match='Nothing was written'):
        convert(checkpoint)
    converted, report = convert(checkpoint, allow_missing=True)
    assert f'{fault} ' in report
    assert ('bbox_head.shared_conv.weight' if fault != 'unknown' else key) in report
    partial = torch.load(converted)['state_dict']
    assert set(source.state_dict()) - set(partial) <= {'bbox_head.shared_conv.weight'}
    assert set(partial) <= set(source.state_dict())


def test_a_file_without_a_lidar_detector_is_refused(convert):
    with pytest.raises(ValueError, match=r'no LiDAR detector.*encoders\.lidar\.backbone'):
        convert({'state_dict': {'encoder.weight': torch.ones(1)}})


def test_the_command_converts_and_checks_the_kernels_on_a_sweep(source, tmp_path):
    points = np.random.RandomState(0).uniform(-1, 1, (3000, 5)) * [20, 20, 2, 100, 0]
    points.astype(np.float32).tofile(tmp_path / 'sweep.bin')
    with torch.no_grad():
        for norm in source.pts_middle_encoder.modules():
            if isinstance(norm, torch.nn.BatchNorm1d):
                norm.momentum = None
        cloud = torch.from_numpy(points.astype(np.float32))
        source.train().extract_pts_feat({'points': [cloud]})
    published, out = tmp_path / 'published.pth', tmp_path / 'new' / 'converted.pth'
    torch.save(mit_checkpoint(source), published)
    config = tmp_path / 'mit.py'
    config.write_text(
        f"_base_ = '{Path(CONFIG).absolute()}'\n"
        "model = dict(bbox_head=dict(bbox_coder=dict(height_of='top')))\n"
    )
    command = [sys.executable, 'tools/convert_checkpoint.py', published, out, '--config', config]
    command += ['--check', tmp_path / 'sweep.bin']
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 'the kernels were read the right way round' in done.stdout
    model = build(seed=2)
    load_checkpoint(model, str(out), strict=True)
    assert_same_detections(model, source)
