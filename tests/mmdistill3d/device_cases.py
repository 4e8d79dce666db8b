"""Every loss, mask, sampler and connector of mmdistill3d on a fake device; see test_device.

A case fails where an operation takes tensors of both devices, or where the host reads a number
more often than the case says.
"""

from types import SimpleNamespace

import pytest
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from spconv.pytorch import SparseConvTensor

import bevfusion
import mmdistill3d
from bevfusion.heatmap import draw_gaussians
from tests.fake_device import NAME, Device

RANGE = [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0]
GRID = dict(point_cloud_range=RANGE, axes='xy')
CHANNELS = dict(student_channels=8, teacher_channels=16)
DTYPES = [torch.float32, torch.float16]


@pytest.fixture
def device():
    with Device() as device:
        yield device


def maps(student=8, teacher=16, dtype=torch.float32):
    return (
        torch.rand(2, student, 12, 12, dtype=dtype, device=NAME, requires_grad=True),
        torch.rand(2, teacher, 12, 12, dtype=dtype, device=NAME),
    )


def instances(count):
    boxes = LiDARInstance3DBoxes(torch.rand(count, 9, device=NAME), box_dim=9)
    labels = torch.zeros(count, dtype=torch.long, device=NAME)
    return boxes, labels


def samples(count=5):
    """Two frames with annotated and predicted boxes."""
    found = []
    for index in range(2):
        sample = Det3DDataSample(metainfo=dict(sample_idx=index))
        boxes, labels = instances(count)
        sample.gt_instances_3d = InstanceData(bboxes_3d=boxes, labels_3d=labels)
        boxes, labels = instances(count)
        sample.pred_instances_3d = InstanceData(
            bboxes_3d=boxes, labels_3d=labels, scores_3d=torch.rand(count, device=NAME)
        )
        found.append(sample)
    return found


def run(device, config, inputs, waits=0, **needs):
    loss = device.move(MODELS.build(config))
    with device.waits(waits):
        result = loss(*inputs, **needs)
        result.backward()
    assert result.device.type == NAME and result.shape == () and result.dtype == torch.float32


@pytest.mark.parametrize('shape', ['box', 'gaussian'])
@pytest.mark.parametrize('boxes, waits', [('gt', 0), ('teacher', 2), ('union', 2)])
def test_masks(device, shape, boxes, waits):
    """The teacher's boxes are chosen by their scores: one wait a frame."""
    mask = MODELS.build(dict(type='BoxMask', **GRID, boxes=boxes, shape=shape, background=0.01))
    with device.waits(waits):
        found = mask(maps()[0], data_samples=samples(), teacher_predictions=samples())
    assert found.shape == (2, 1, 12, 12) and found.device.type == NAME


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('weights', ['product', 'teacher', 'gt'])
@pytest.mark.parametrize('classes', [None, [2, 0, 5, 1]])
def test_heatmaps(device, weights, classes, dtype):
    config = dict(type='HeatmapKDLoss', **GRID, weights=weights, classes=classes)
    mask = torch.rand(2, 1, 12, 12, device=NAME)
    run(device, config, maps(4, 4, dtype), data_samples=samples(), mask=mask)


OBJECTS = [
    dict(type='ObjectContrastLoss', **CHANNELS),
    dict(type='ObjectContrastLoss', same_class='ignore', **CHANNELS),
    dict(type='ObjectRelationLoss', relation='cosine'),
    dict(type='ObjectRelationLoss', relation='gram', distance='mse'),
]


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('count', [0, 5])
@pytest.mark.parametrize('config', OBJECTS, ids=lambda config: '-'.join(map(str, config.values())))
def test_objects(device, config, count, dtype):
    run(device, {**config, **GRID}, maps(dtype=dtype), data_samples=samples(count))


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('count', [0, 5])
def test_crd_of_objects(device, count, dtype):
    objects = dict(type='object', **GRID, num_classes=3)
    config = dict(type='CRDLoss', granularity=objects, memory=dict(queue_length=8), **CHANNELS)
    run(device, config, maps(dtype=dtype), data_samples=samples(count))


def sparse(count, cells=(8, 8, 4), dtype=torch.float32, channels=8):
    features = torch.rand(count, channels, dtype=dtype, device=NAME, requires_grad=True)
    indices = torch.zeros(count, 4, dtype=torch.int32, device=NAME)
    return SparseConvTensor(features, indices, list(cells), 2)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('distance', ['mse', 'l1'])
@pytest.mark.parametrize('unmatched, reduce', [('ignore', 'mean'), ('zero', 'max')])
@pytest.mark.parametrize('cells', [(8, 8, 4), (4, 4, 2)])
def test_sparse_features(device, distance, unmatched, reduce, cells, dtype):
    config = dict(type='SparseFeatureLoss', distance=distance, unmatched=unmatched, reduce=reduce)
    run(device, config, (sparse(30, dtype=dtype), sparse(40, cells, dtype)))


def test_crd_of_sparse_scenes(device):
    config = dict(type='CRDLoss', memory=dict(num_samples=20, num_negatives=7), **CHANNELS)
    inputs = sparse(30), sparse(40, channels=16)
    run(device, config, inputs, sample_idx=torch.tensor([0, 3]))


CONNECTORS = [
    dict(type='RangeConnector', mode='bilinear'),
    dict(type='RangeConnector', mode='area'),
    dict(type='TransposeConnector'),
]


@pytest.mark.parametrize('config', CONNECTORS, ids=lambda config: '-'.join(config.values()))
def test_connectors(device, config):
    if config['type'] == 'RangeConnector':
        config = dict(config, source_range=RANGE, target_range=[-32, -32, 32, 32], size=(6, 6))
        config['axes'] = 'xy'
    assert MODELS.build(config)(maps()[0]).device.type == NAME


def test_connectors_of_sparse_tensors(device):
    linear = dict(type='SparseLinearConnector', in_channels=8, out_channels=16)
    assert device.move(MODELS.build(linear))(sparse(9)).features.shape == (9, 16)
    for pool in ('avg', 'max', 'avg+max'):
        projector = dict(type='MLPProjector', in_channels=8, pool=pool)
        assert device.move(MODELS.build(projector))(sparse(9)).shape == (2, 128)


CODER = dict(pc_range=RANGE[:2], voxel_size=[0.075, 0.075], out_size_factor=8)


def queries(dtype, number=6, classes=3):
    channels = dict(center=2, height=1, dim=3, rot=2, vel=2, heatmap=classes)
    outputs = {
        key: torch.rand(2, c, number, dtype=dtype, device=NAME, requires_grad=True)
        for key, c in channels.items()
    }
    return dict(
        **outputs,
        query_heatmap_score=torch.rand(2, classes, number, device=NAME),
        query_labels=torch.zeros(2, number, dtype=torch.long, device=NAME),
        dense_heatmap=torch.rand(2, classes, 8, 8, dtype=dtype, device=NAME, requires_grad=True),
    )


@pytest.mark.parametrize('dtype', DTYPES)
def test_queries(device, dtype):
    """The Hungarian algorithm runs on the host: one wait a step."""
    config = dict(
        type='TransFusionKDLoss', student_coder=CODER, teacher_coder=CODER, heatmap_weight=1.0
    )
    run(device, config, (queries(dtype), queries(dtype)), waits=1)


def center_head(dtype):
    channels = dict(reg=2, height=1, dim=3, rot=2, vel=2, heatmap=2)
    return tuple([{key: maps(c, c, dtype)[0] for key, c in channels.items()}] for _ in range(2))


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('positions', ['gt', 'peaks', 'union'])
def test_center_heads(device, positions, dtype):
    config = dict(type='CenterHeadKDLoss', **GRID, positions=positions)
    mask = torch.rand(2, 1, 12, 12, device=NAME)
    heads = center_head(dtype), center_head(dtype)
    run(device, config, heads, data_samples=samples(), mask=mask)


@pytest.fixture
def anchor_detector():
    model = torch.nn.Module()
    generator = dict(
        type='AlignedAnchor3DRangeGenerator',
        ranges=[[-8.0, -6.0, -1.0, 8.0, 6.0, -1.0]],
        sizes=[[4.0, 2.0, 1.5]],
        rotations=[0, 1.57],
    )
    model.bbox_head = MODELS.build(
        dict(
            type='mmdet3d.Anchor3DHead',
            num_classes=3,
            in_channels=8,
            feat_channels=8,
            anchor_generator=generator,
            bbox_coder=dict(type='DeltaXYZWLHRBBoxCoder'),
            loss_cls=dict(type='mmdet.FocalLoss', use_sigmoid=True),
        )
    )
    return model


@pytest.mark.parametrize('dtype', DTYPES)
def test_anchor_heads(anchor_detector, device, dtype):
    heads = [([maps(6, 6, dtype)[0]], [maps(14, 14, dtype)[0]], [maps(4, 4, dtype)[0]])] * 2
    models = dict(student_model=anchor_detector, teacher_model=anchor_detector)
    run(device, dict(type='AnchorHeadKDLoss', max_anchors=8), heads, **models)


@pytest.mark.parametrize('dtype', DTYPES)
def test_heads_on_images(device, dtype):
    head = torch.nn.Module()
    head.strides, head.use_direction_classifier, head.pred_velo = [8], True, True
    head.dim_channel, head.ori_channel = [3, 4, 5], [6, 7]
    head.bbox_coder = SimpleNamespace(base_depth=(28.0, 16.0), base_dims=(), bbox_code_size=8)
    model = torch.nn.Module()
    model.bbox_head = head
    models = dict(student_model=model, teacher_model=model)

    def outputs(*channels):
        return tuple([maps(number, 1, dtype)[0]] for number in channels)

    mono = [outputs(3, 9, 2, 4, 1) for _ in range(2)]
    run(device, dict(type='MonoHeadKDLoss', max_cells=8), mono, **models)
    smoke = [outputs(3, 8) for _ in range(2)]
    run(device, dict(type='SMOKEHeadKDLoss', max_cells=8), smoke, **models)


@pytest.mark.parametrize('dtype', DTYPES)
def test_proposals(device, dtype):
    """Matched on the host, with one wait; what a head's coder costs is its own."""
    widths = dict(center=3, size=3, angle=1, obj_scores=2, sem_scores=4)
    model = torch.nn.Module()
    model.bbox_head = torch.nn.Module()
    model.bbox_head.bbox_coder = SimpleNamespace(
        decode=lambda out: torch.cat([out['center'], out['size'], out['angle']], dim=-1)
    )
    found = [
        {
            key: torch.rand(2, 6, width, dtype=dtype, device=NAME, requires_grad=True)
            for key, width in widths.items()
        }
        for _ in range(2)
    ]
    models = dict(student_model=model, teacher_model=model)
    run(device, dict(type='ProposalKDLoss'), found, waits=1, **models)


@pytest.mark.parametrize('dtype', DTYPES)
def test_second_stages(device, dtype):
    class Head(torch.nn.Module):
        def _bbox_forward(self, rois):
            return dict(cls_score=rois[:, :1], bbox_pred=rois[:, 1:])

    model = torch.nn.Module()
    model.roi_head = Head()
    rois = torch.rand(6, 8, dtype=dtype, device=NAME, requires_grad=True)
    call = dict(arguments=dict(rois=rois), result=model.roi_head._bbox_forward(rois))
    run(device, dict(type='RoIHeadKDLoss'), (call, call), teacher_model=model)


def test_every_loss_has_a_case():
    cases = {config['type'] for config in OBJECTS}
    cases |= {'HeatmapKDLoss', 'SparseFeatureLoss', 'TransFusionKDLoss'}
    cases |= {'CenterHeadKDLoss', 'AnchorHeadKDLoss', 'RoIHeadKDLoss'}
    cases |= {'MonoHeadKDLoss', 'SMOKEHeadKDLoss', 'ProposalKDLoss'}
    assert cases == set(mmdistill3d.losses.__all__)


def test_voxels(device):
    """Which points lie in the range, how many voxels they fill, and which are kept."""
    voxels = bevfusion.Voxelization([0.1, 0.1, 0.2], [-5, -5, -3, 5, 5, 1], 5, [100, 200])
    device.move(voxels)
    with device.waits(3):
        features, cells, _ = voxels(torch.rand(500, 5, device=NAME))
    assert features.device.type == cells.device.type == NAME


def test_heatmaps_of_the_detector(device):
    """Targets are matched on the CPU and drawn on the device, which is not waited for."""
    keys = torch.zeros(3, 5, dtype=torch.long)
    heatmap = torch.zeros(2, 3, 8, 8, device=NAME)
    drawn = draw_gaussians(heatmap, keys[0], keys[1], torch.zeros(5, 2).int(), keys[2].int())
    assert drawn is heatmap
