"""Range and axes are read off the detectors, and maps are joined in metres."""

from pathlib import Path

import mmdet3d
import pytest
import torch
from mmdet3d.structures import CameraInstance3DBoxes, LiDARInstance3DBoxes
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mmdistill.reading import Layer, build_recorder
from mmdistill.reading.shapes import layer_facts
from mmdistill3d.connectors import align_maps
from tests.mmdistill3d.conftest import load
from tests.mmdistill3d.losses.samples import sample_of

INSTALLED = Path(mmdet3d.__file__).parent / '.mim' / 'configs'
KITTI = [0.0, -40.0, -3.0, 70.4, 40.0, 1.0]
NEAR, FAR = [-12.8, -12.8, -5.0, 12.8, 12.8, 3.0], [-25.6, -25.6, -5.0, 25.6, 25.6, 3.0]


def layer(model, address, value=None, **facts):
    recorder = build_recorder(address)
    return Layer(recorder, model, 'model', value, **{**dict(layer_facts(model, recorder)), **facts})


def made_up(axes, limits, *size, channels=1):
    """A layer of a model that tells axes and range, with a map of this size."""
    model = nn.Module()
    model.bev_axes, model.bev_range = axes, limits
    value = None if not size else torch.zeros(1, channels, *size)
    return layer(model, 'neck', value)


def peak(axes, limits, size, xy, channels=1):
    """A map that is 1 in the cell of a position in metres."""
    cells_xy = size if axes == 'xy' else size[::-1]
    half = len(limits) // 2
    x, y = (int((xy[i] - limits[i]) / (limits[half + i] - limits[i]) * cells_xy[i]) for i in (0, 1))
    row, column = (x, y) if axes == 'xy' else (y, x)
    feature = torch.zeros(1, channels, *size)
    feature[0, :, row, column] = 1
    return feature


# ------------------------------------------------------------------ what detectors tell
def installed(name):
    config = Config.fromfile(INSTALLED / name)
    return MODELS.build(config.model)


@pytest.mark.parametrize(
    ('config', 'limits'),
    [
        ('second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py', KITTI),
        (
            'pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py',
            [0.0, -39.68, -3.0, 69.12, 39.68, 1.0],
        ),
        ('parta2/parta2_hv_secfpn_8xb2-cyclic-80e_kitti-3d-3class.py', KITTI),
    ],
)
def test_voxel_and_pillar_detectors_tell_their_range_and_that_their_maps_are_yx(config, limits):
    model = installed(config)
    facts = layer_facts(model, build_recorder('neck[0]'))
    assert facts['axes'] == 'yx'
    torch.testing.assert_close(list(facts['range']), limits)
    assert layer_facts(model, build_recorder('voxel_encoder')) == {}


def test_a_bevfusion_detector_tells_its_range_and_that_its_maps_are_xy():
    model = MODELS.build(load('bevfusion/bevfusion_lidar_student_mini.py').model)
    facts = layer_facts(model, build_recorder('pts_neck[0]'))
    assert facts == dict(axes='xy', range=tuple(FAR))


def test_layers_of_images_and_of_models_without_a_bev_map_tell_nothing():
    model = installed('fcos3d/fcos3d_r101-caffe-dcn_fpn_head-gn_8xb2-1x_nus-mono3d.py')
    assert layer_facts(model, build_recorder('neck[0]')) == {}


# ------------------------------------------------------------------ masks and boxes
def test_on_kitti_a_box_is_laid_over_the_cells_where_it_lies():
    second = layer(
        installed('second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py'),
        'neck[0]',
        torch.zeros(1, 4, 200, 176),
    )
    mask = MODELS.build(dict(type='BoxMask', shape='gaussian'))
    mask.bind(second, second)
    box = [70.5 * 0.4, 110.5 * 0.4 - 40, -1, 3.9, 1.6, 1.5, 0, 0, 0]
    weights = mask(second.value, data_samples=[sample_of([box], [0])])
    assert divmod(int(weights.argmax()), 176) == (110, 70)


def test_a_range_or_axes_in_the_config_that_are_not_the_models_are_refused():
    neck = made_up('yx', KITTI, 200, 176)
    for wrong, message in (
        (dict(axes='xy'), "axes='xy', but 'yx' is what"),
        (dict(point_cloud_range=[0, -40, -3, 60, 40, 1]), r'point_cloud_range=.*60.0.*but .*70.4'),
    ):
        with pytest.raises(ValueError, match=message):
            MODELS.build(dict(type='BoxMask', **wrong)).bind(neck, neck)
    MODELS.build(dict(type='BoxMask', point_cloud_range=KITTI, axes='yx')).bind(neck, neck)


def test_axes_that_contradict_the_cells_or_that_nobody_tells_are_refused():
    mask = MODELS.build(dict(type='BoxMask', point_cloud_range=KITTI))
    with pytest.raises(ValueError, match="its axes are 'yx', not 'xy'"):
        neck = made_up('xy', KITTI, 200, 176)
        mask.bind(neck, neck)
    unknown = layer(nn.Module(), 'neck', torch.zeros(1, 4, 200, 176))
    for part in (dict(type='BoxMask'), dict(type='HeatmapKDLoss')):
        with pytest.raises(ValueError, match='nobody says where the cells of the map lie'):
            MODELS.build(dict(point_cloud_range=KITTI, **part)).bind(unknown, unknown)


def test_boxes_in_camera_coordinates_are_refused():
    mask = MODELS.build(dict(type='BoxMask', point_cloud_range=NEAR, axes='xy'))
    sample = sample_of([[1.0, 2, -1, 4, 2, 1.5, 0, 0, 0]], [0])
    sample.gt_instances_3d.bboxes_3d = CameraInstance3DBoxes(torch.rand(1, 7))
    with pytest.raises(ValueError, match='CameraInstance3DBoxes: x right, y down'):
        mask(torch.zeros(1, 1, 8, 8), data_samples=[sample])


# ------------------------------------------------------------------ maps in metres
OBJECT = (10.0, -3.0)


@pytest.mark.parametrize('teacher_axes', ['xy', 'yx'])
@pytest.mark.parametrize('student_axes', ['xy', 'yx'])
def test_a_peak_of_a_teacher_with_another_range_lands_where_it_lies(student_axes, teacher_axes):
    student = made_up(student_axes, NEAR, 32, 32)
    teacher = made_up(teacher_axes, FAR, 64, 64)
    aligner = align_maps(student, teacher, cells=True)
    brought = aligner(peak(teacher_axes, FAR, (64, 64), OBJECT))
    torch.testing.assert_close(brought, peak(student_axes, NEAR, (32, 32), OBJECT))


def test_equal_grids_are_left_alone_and_wholes_may_have_other_cells():
    student = made_up('xy', NEAR, 32, 32)
    assert align_maps(student, made_up('xy', NEAR, 32, 32), cells=True) is None
    assert align_maps(student, made_up('xy', NEAR, 16, 16), cells=False) is None
    assert align_maps(student, made_up('xy', NEAR, 16, 16), cells=True) is not None
    assert align_maps(student, made_up('xy', FAR, 32, 32), cells=False) is not None


def test_maps_of_which_one_tells_nothing_are_not_compared_cell_by_cell():
    unknown = layer(nn.Module(), 'neck', torch.zeros(1, 1, 32, 32))
    student = made_up('xy', NEAR, 32, 32)
    with pytest.raises(ValueError, match='nothing is known of the axes of'):
        align_maps(student, unknown, cells=True)
    assert align_maps(student, unknown, cells=False) is None
    assert align_maps(unknown, unknown, cells=True) is None


def test_a_teacher_that_sees_less_than_half_is_refused():
    with pytest.raises(ValueError, match=r'sees 25% .*\[-12.8, .*\[-25.6'):
        align_maps(made_up('xy', FAR, 64, 64), made_up('xy', NEAR, 32, 32), cells=True)


def objects_of(axes, limits, size, xy):
    """A map whose first channel is 1 around a position: what an object loss should read there."""
    return torch.nn.functional.max_pool2d(peak(axes, limits, size, xy), 5, 1, 2)


def test_object_losses_read_each_side_on_its_own_grid():
    student, teacher = made_up('yx', NEAR, 32, 32), made_up('xy', FAR, 64, 64)
    sampler = MODELS.build(dict(type='ObjectSampler'))
    sampler.bind(student, teacher)
    box = [*OBJECT, -1, 1.0, 1.0, 1.5, 0, 0, 0]
    samples = sampler(
        objects_of('yx', NEAR, (32, 32), OBJECT),
        objects_of('xy', FAR, (64, 64), OBJECT),
        data_samples=[sample_of([box], [0])],
    )
    assert samples.student.min() == samples.teacher.min() == 1


def test_a_heatmap_of_an_image_plane_needs_no_range():
    loss = MODELS.build(dict(type='HeatmapKDLoss', weights='teacher'))
    plane = layer(nn.Module(), 'head', torch.zeros(1, 2, 4, 6))
    loss.bind(plane, plane)
    assert loss(torch.randn(1, 2, 4, 6), torch.randn(1, 2, 4, 6)) > 0
    assert loss.needs == ('mask',)


def test_sparse_voxels_of_other_axes_are_not_joined_by_coordinate():
    loss = MODELS.build(dict(type='SparseFeatureLoss'))
    with pytest.raises(ValueError, match="has axes 'xy'.* 'yx'"):
        loss.bind(made_up('xy', NEAR), made_up('yx', NEAR))


def test_boxes_of_lidar_frames_are_read_as_before():
    mask = MODELS.build(dict(type='BoxMask', point_cloud_range=NEAR, axes='xy'))
    sample = sample_of([[1.0, 2, -1, 4, 2, 1.5, 0, 0, 0]], [0])
    assert isinstance(sample.gt_instances_3d.bboxes_3d, LiDARInstance3DBoxes)
    assert mask(torch.zeros(1, 1, 8, 8), data_samples=[sample]).sum() > 0
