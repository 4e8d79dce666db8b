"""What each loss of the gallery is fed: maps of one size, or what detection heads return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

RANGE = [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0]
CLASSES = 10
BOXES = 40  # a frame, about as in nuScenes
QUERIES = 200


@dataclass
class Case:
    """Inputs of one loss.

    Args:
        student: The student's feature, with a gradient.
        teacher: The teacher's feature.
        config: Arguments of the loss that have no default.
        context: Keyword-only arguments of ``forward``.
        what: The input in words, where it is not the map.
        prepare: Called with the loss before the first run.
    """

    student: Any
    teacher: Any
    config: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    what: str = ''
    prepare: Callable[[nn.Module], None] = lambda loss: None


def default_case(size: tuple[int, ...]) -> Case:
    """Two maps of one shape."""
    return Case(torch.randn(size, requires_grad=True), torch.randn(size))


def with_channels(size: tuple[int, ...]) -> Case:
    """Two maps, for losses with projections on both sides."""
    case = default_case(size)
    case.config = dict(student_channels=size[1], teacher_channels=size[1])
    return case


def with_objects(size: tuple[int, ...]) -> Case:
    """Two maps and the boxes of their frames."""
    case = default_case(size)
    case.config = dict(point_cloud_range=RANGE, axes='xy')
    case.context = dict(data_samples=samples(size[0]))
    return case


def objects_with_channels(size: tuple[int, ...]) -> Case:
    case = with_objects(size)
    case.config.update(student_channels=size[1], teacher_channels=size[1])
    return case


def crd(size: tuple[int, ...]) -> Case:
    """Two maps and banks as long as nuScenes' training set."""
    case = with_channels(size)
    case.context = dict(sample_idx=torch.arange(size[0]), data_samples=samples(size[0]))
    case.prepare = lambda loss: loss.memory.resize(28130)
    return case


def class_maps(size: tuple[int, ...]) -> Case:
    """The class heatmaps of a head."""
    case = with_objects((size[0], CLASSES, *size[2:]))
    case.what = f'{CLASSES} classes'
    return case


def class_logits(size: tuple[int, ...]) -> Case:
    case = default_case((size[0], CLASSES, *size[2:]))
    case.what = f'{CLASSES} classes'
    return case


def samples(number: int) -> list[Any]:
    """Frames with boxes all over the range."""
    from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
    from mmengine.structures import InstanceData

    found = []
    for index in range(number):
        low, high = torch.tensor(RANGE[:3]), torch.tensor(RANGE[3:])
        boxes = torch.cat(
            [
                low + torch.rand(BOXES, 3) * (high - low),
                0.5 + 4 * torch.rand(BOXES, 3),
                6.28 * torch.rand(BOXES, 1),
                torch.zeros(BOXES, 2),
            ],
            dim=1,
        )
        sample = Det3DDataSample(metainfo=dict(sample_idx=index))
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=LiDARInstance3DBoxes(boxes, box_dim=9),
            labels_3d=torch.arange(BOXES) % CLASSES,
        )
        found.append(sample)
    return found


def transfusion(size: tuple[int, ...]) -> Case:
    """Raw outputs of two TransFusion heads."""

    def outputs() -> dict[str, Tensor]:
        batch, cells = size[0], size[2:]
        sizes = dict(center=2, height=1, dim=3, rot=2, vel=2, heatmap=CLASSES)
        values = {
            key: torch.randn(batch, count, QUERIES, requires_grad=True)
            for key, count in sizes.items()
        }
        values['center'] = (torch.rand(batch, 2, QUERIES) * cells[0]).requires_grad_()
        return {
            **values,
            'query_heatmap_score': torch.rand(batch, CLASSES, QUERIES),
            'query_labels': torch.randint(CLASSES, (batch, QUERIES)),
            'dense_heatmap': torch.randn(batch, CLASSES, *cells, requires_grad=True),
        }

    coder = dict(
        pc_range=RANGE[:2],
        voxel_size=[0.075, 0.075],
        out_size_factor=8,
    )
    return Case(
        outputs(),
        outputs(),
        config=dict(student_coder=coder, teacher_coder=coder, heatmap_weight=1.0),
        what=f'{QUERIES} queries and {CLASSES} classes',
    )


def center_head(size: tuple[int, ...]) -> Case:
    """Outputs of two centre heads with nuScenes' six tasks."""

    def outputs() -> tuple[list[dict[str, Tensor]], ...]:
        parts = dict(reg=2, height=1, dim=3, rot=2, vel=2)
        return tuple(
            [
                {
                    name: torch.randn(size[0], count, *size[2:], requires_grad=True)
                    for name, count in {**parts, 'heatmap': classes}.items()
                }
            ]
            for classes in (1, 2, 2, 1, 2, 2)
        )

    return Case(
        outputs(),
        outputs(),
        config=dict(point_cloud_range=RANGE, axes='yx'),
        context=dict(data_samples=samples(size[0])),
        what=f'6 tasks, {CLASSES} classes',
    )


def anchor_head(size: tuple[int, ...]) -> Case:
    """Outputs of two anchor heads with the six anchors a cell of PointPillars."""
    from mmdet3d.registry import MODELS

    model = nn.Module()
    model.bbox_head = MODELS.build(
        dict(
            type='Anchor3DHead',
            num_classes=3,
            in_channels=size[1],
            feat_channels=size[1],
            anchor_generator=dict(
                type='AlignedAnchor3DRangeGenerator',
                ranges=[[*RANGE[:2], -1.0, *RANGE[3:5], -1.0]],
                sizes=[[3.9, 1.6, 1.56], [0.8, 0.6, 1.73], [1.76, 0.6, 1.73]],
                rotations=[0, 1.57],
                reshape_out=True,
            ),
            bbox_coder=dict(type='DeltaXYZWLHRBBoxCoder'),
            loss_cls=dict(type='mmdet.FocalLoss', use_sigmoid=True),
        )
    )

    def outputs() -> tuple[list[Tensor], ...]:
        with torch.no_grad():
            found = model.bbox_head([torch.randn(size)])
        return tuple([part.requires_grad_() for part in level] for level in found)

    return Case(
        outputs(),
        outputs(),
        context=dict(student_model=model, teacher_model=model),
        what='6 anchors a cell',
    )


def image_head(family: str, levels: int, what: str) -> Callable[[tuple[int, ...]], Case]:
    """Outputs of the head of a family of MMDetection3D, on maps of each level."""

    def make(size: tuple[int, ...]) -> Case:
        from mmdet3d.registry import MODELS

        from mmdistill3d.analysis.families import choose

        config = choose([family])[0].model().bbox_head
        config.update(in_channels=size[1], train_cfg=None, test_cfg=None)
        if not config.get('stacked_convs'):  # its branches read the map itself
            config.feat_channels = size[1]
        model = nn.Module()
        model.bbox_head = MODELS.build(config)

        def outputs() -> tuple[list[Tensor], ...]:
            maps = [torch.randn(*size[:2], *(n // 2**i for n in size[2:])) for i in range(levels)]
            with torch.no_grad():
                found = model.bbox_head(maps)
            return tuple([part.requires_grad_() for part in level] for level in found)

        models = dict(student_model=model, teacher_model=model)
        return Case(outputs(), outputs(), context=models, what=what)

    return make


def proposals(size: tuple[int, ...]) -> Case:
    """Outputs of VoteNet's head, 256 proposals of a frame."""
    from mmdet3d.registry import TASK_UTILS

    number, kinds, bins = 256, 10, 12
    model = nn.Module()
    model.bbox_head = nn.Module()
    model.bbox_head.bbox_coder = TASK_UTILS.build(
        dict(
            type='PartialBinBasedBBoxCoder',
            num_sizes=kinds,
            num_dir_bins=bins,
            with_rot=True,
            mean_sizes=[[1.0, 1.0, 1.0]] * kinds,
        )
    )

    def outputs() -> dict[str, Tensor]:
        widths = dict(center=(3,), obj_scores=(2,), sem_scores=(kinds,), size_class=(kinds,))
        widths.update(dir_class=(bins,), dir_res=(bins,), size_res=(kinds, 3))
        return {
            key: torch.rand(size[0], number, *width, requires_grad=True)
            for key, width in widths.items()
        }

    return Case(
        outputs(),
        outputs(),
        context=dict(student_model=model, teacher_model=model),
        what=f'{number} proposals',
    )


def second_stage(size: tuple[int, ...]) -> Case:
    """Answers of a RoI head to 128 proposals of a frame."""

    class Head(nn.Module):
        def _bbox_forward(self, rois: Tensor) -> dict[str, Tensor]:
            return dict(cls_score=rois[:, :1], bbox_pred=rois[:, 1:])

    number = 128
    model = nn.Module()
    model.roi_head = Head()
    call = dict(arguments=dict(rois=torch.rand(size[0] * number, 8)))
    answer = torch.rand(size[0] * number, 8, requires_grad=True)
    student = dict(call, result=model.roi_head._bbox_forward(answer))
    return Case(
        student, call, context=dict(teacher_model=model), what=f'{number} proposals, no head'
    )


def voxels(size: tuple[int, ...]) -> Case:
    """Sparse voxels of the encoder's first stage, about as many as a nuScenes sweep has."""
    from spconv.pytorch import SparseConvTensor

    def tensor(keep: Tensor) -> SparseConvTensor:
        features = torch.randn(int(keep.sum()), 64, requires_grad=True)
        return SparseConvTensor(features, indices[keep], list(shape), size[0])

    shape, per_frame = (360, 360, 11), 20000
    found = []
    for frame in range(size[0]):
        flat = torch.randperm(shape[0] * shape[1] * shape[2])[:per_frame]
        cells = torch.stack(torch.unravel_index(flat, shape), dim=1)
        found.append(torch.cat([torch.full((per_frame, 1), frame), cells], dim=1))
    indices = torch.cat(found).int()
    student, teacher = (tensor(torch.rand(len(indices)) < 0.9) for _ in range(2))
    return Case(student, teacher, what=f'{per_frame} voxels a frame, 64 channels')


CASES: dict[str, Callable[[tuple[int, ...]], Case]] = {
    'AnchorHeadKDLoss': anchor_head,
    'CRDLoss': crd,
    'CenterHeadKDLoss': center_head,
    'ContrastiveLoss': with_channels,
    'DISTLoss': class_logits,
    'DKDLoss': class_logits,
    'FactorTransferLoss': with_channels,
    'HeatmapKDLoss': class_maps,
    'KDLoss': class_logits,
    'LogitStandardKDLoss': class_logits,
    'MGDLoss': with_channels,
    'MonoHeadKDLoss': image_head('FCOS3D', 5, '5 levels'),
    'ObjectContrastLoss': objects_with_channels,
    'ObjectRelationLoss': with_objects,
    'ProposalKDLoss': proposals,
    'RoIHeadKDLoss': second_stage,
    'SMOKEHeadKDLoss': image_head('SMOKE', 1, 'one level'),
    'SparseFeatureLoss': voxels,
    'TransFusionKDLoss': transfusion,
    'VIDLoss': with_channels,
}
