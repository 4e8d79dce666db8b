"""Object-level CRD: what is read at the boxes, and a step of the detectors."""

import copy
import pickle

import numpy as np
import pytest
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.structures import InstanceData

from lidarsim import Parameters, generate_dataset

RANGE = [-8, -4, -3, 8, 4, 3]


def sample(boxes, labels, **fields):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 7)
    result = Det3DDataSample()
    result.gt_instances_3d = InstanceData(
        bboxes_3d=LiDARInstance3DBoxes(boxes), labels_3d=torch.tensor(labels).long(), **fields
    )
    return result


def crd(**changes):
    config = dict(
        type='CRDLoss',
        student_channels=2,
        teacher_channels=3,
        embed_dims=8,
        granularity=dict(type='object', point_cloud_range=RANGE, axes='xy', num_classes=4),
        memory=dict(queue_length=8, num_negatives=20),
    )
    return MODELS.build({**config, **changes})


def test_each_object_is_read_inside_its_own_box_whatever_the_order_of_axes():
    """Two cars stand on marked cells of a 16 m x 8 m map; the teacher's map is [y, x] and finer."""
    student = torch.zeros(1, 1, 16, 8)
    student[..., 10:14, 4:6] = 5.0  # x 2 .. 6, y 0 .. 2
    teacher = torch.zeros(1, 1, 16, 32)
    teacher[..., 8:12, 20:28] = 7.0
    sampler = MODELS.build(
        dict(
            type='ObjectSampler',
            point_cloud_range=RANGE,
            axes='xy',
            teacher_axes='yx',
            size=(2, 2),
            num_classes=4,
        )
    )
    boxes = [[4, 1, 0, 2, 1, 1, 0.0], [-4, -2, 0, 2, 1, 1, 0.5]]
    result = sampler(student, teacher, data_samples=[sample(boxes, [1, 3])])
    assert torch.equal(result.student, torch.tensor([5.0, 0]).view(2, 1, 1, 1).expand(2, 1, 2, 2))
    assert torch.equal(result.teacher, torch.tensor([7.0, 0]).view(2, 1, 1, 1).expand(2, 1, 2, 2))
    assert result.keys['labels'].tolist() == [1, 3]
    assert result.keys['instances'].tolist() == [-1, -1]


def test_instance_numbers_of_the_data_set_reach_the_memory():
    loss = crd()
    boxes = [[4, 1, 0, 2, 1, 1, 0.0], [-4, -2, 0, 2, 1, 1, 0.5]]
    samples = [sample(boxes, [1, 3], instance_id=torch.tensor([13, 6]))]
    loss(torch.randn(1, 2, 16, 8), torch.randn(1, 3, 16, 8), data_samples=samples)
    assert loss.memory.row_instance.view(4, 8)[1, 5] == 13
    assert loss.memory.row_instance.view(4, 8)[3, 6] == 6


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_frames_without_boxes_and_half_precision_train(dtype):
    loss = crd()
    student = torch.randn(2, 2, 16, 8, dtype=dtype, requires_grad=True)
    teacher = torch.randn(2, 3, 16, 8, dtype=dtype)
    empty = [sample([], []), sample([], [])]
    value = loss(student, teacher, data_samples=empty)
    value.backward()
    assert value == 0 and student.grad.abs().sum() == 0
    assert all(p.grad is not None for p in loss.parameters())
    full = [sample([[4, 1, 0, 2, 1, 1, 0.0]], [1]), sample([[-4, -2, 0, 2, 1, 1, 0.5]], [3])]
    value = loss(student, teacher, data_samples=full)
    value.backward()
    assert value > 0 and student.grad.isfinite().all() and student.grad.abs().sum() > 0


def test_a_non_finite_cell_costs_the_objects_on_it_alone():
    loss = crd()
    student = torch.randn(1, 2, 16, 8)
    student[0, 0, 12, 4] = float('inf')
    student.requires_grad_()
    boxes = [[4.5, 0.5, 0, 2, 1, 1, 0.0], [-4, -2, 0, 2, 1, 1, 0.5]]
    value = loss(student, torch.randn(1, 3, 16, 8), data_samples=[sample(boxes, [1, 3])])
    value.backward()
    assert value.isfinite() and student.grad.isfinite().all()
    assert loss.memory.num_skipped == 1 and loss.memory.filled.sum() == 1


def test_training_tells_objects_apart():
    """With a few steps on fixed maps, the student's objects agree with the teacher's."""
    torch.manual_seed(0)
    loss = crd()
    student = torch.nn.Parameter(torch.randn(2, 2, 16, 8))
    teacher = torch.randn(2, 3, 16, 8)
    boxes = [[x, y, 0, 2, 1, 1, 0.0] for x in (-6, -2, 2, 6) for y in (-2, 2)]
    samples = [sample(boxes, [0, 1, 2, 3, 0, 1, 2, 3])] * 2
    optimizer = torch.optim.Adam([student, *loss.parameters()], lr=0.05)
    values = []
    for _ in range(60):
        value = loss(student, teacher, data_samples=samples)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value))
    assert sum(values[-5:]) < 0.7 * sum(values[5:10])


def test_wrong_uses_say_what_to_do():
    loss = crd()
    maps = torch.randn(1, 2, 16, 8), torch.randn(1, 3, 16, 8)
    with pytest.raises(ValueError, match="keys=.*'gt_bboxes_3d'"):
        loss(*maps, data_samples=[Det3DDataSample()])
    with pytest.raises(ValueError, match=r'maps \(B, C, H, W\), got a tuple of 1'):
        loss((maps[0],), maps[1], data_samples=[sample([], [])])
    with pytest.raises(ValueError, match='granularity is one of'):
        crd(granularity='point')


def test_the_distiller_trains_a_step_with_it(distill_model, batch):
    from tests.mmdistill3d.conftest import load

    link = load('distill/losses/contrastive.py').model.links.crd_object
    distill_model.links = dict(objects=dict(copy.deepcopy(link), weight=1))
    distiller = MODELS.build(distill_model).train()
    losses = distiller(**distiller.data_preprocessor(batch, True), mode='loss')
    losses['distill/objects'].backward()
    assert losses['distill/objects'] > 0
    assert distiller.links['objects'].loss.memory.filled.sum() == 2


@pytest.mark.parametrize('key', ['instance_token', 'instance_id'])
def test_instances_survive_the_filters_of_a_pipeline(key):
    """Boxes outside the range and of other classes go; a pasted one has no instance."""
    boxes = torch.zeros(5, 7)
    boxes[:, 0] = torch.tensor([1.0, 50, 2, 3, 4])
    boxes[:, 3:6] = 1
    values = dict(instance_token=['a', 'b', 'c', 'd'], instance_id=[7, 8, 9, 10])[key]
    results = dict(
        gt_bboxes_3d=LiDARInstance3DBoxes(boxes),
        gt_labels_3d=np.array([0, 0, -1, 1, 1]),
        ann_info={'gt_labels_3d': np.array([0, 0, -1, 1]), key: np.array(values)},
        points=torch.zeros(1, 5),
    )
    step = TRANSFORMS.build(
        dict(
            type='KeepInstanceIds',
            transforms=[
                dict(type='mmdet3d.ObjectRangeFilter', point_cloud_range=RANGE),
                dict(type='mmdet3d.ObjectNameFilter', classes=['car', 'bus']),
                dict(type='mmdet3d.Pack3DDetInputs', keys=['gt_bboxes_3d', 'gt_labels_3d']),
            ],
        )
    )
    instances = step(copy.deepcopy(results))['data_samples'].gt_instances_3d
    assert instances.bboxes_3d.tensor[:, 0].tolist() == [1, 3, 4]
    ids = instances.instance_id.tolist()
    assert ids[2] == -1 and len(set(ids)) == 3
    assert key == 'instance_token' or ids == [7, 10, -1]
    unknown = copy.deepcopy(results)
    unknown['gt_bboxes_3d'].tensor[3, 4] = torch.nan
    assert step(unknown)['data_samples'].gt_instances_3d.instance_id.tolist() == ids
    fewer = {**results, 'gt_bboxes_3d': results['gt_bboxes_3d'][:3]}
    with pytest.raises(ValueError, match='4 boxes are annotated and 3 are left'):
        step(fewer)
    del results['ann_info'][key]
    with pytest.raises(KeyError, match='neither instance_token nor instance_id'):
        step(results)


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    """Three frames of one scene of the embedded data set."""
    path = tmp_path_factory.mktemp('data') / 'lidarsim'
    generate_dataset(path, Parameters(scenes=1, val_scenes=1, frames=3, sweeps=1, azimuths=270))
    return path


def build(config, root):
    config.train_dataloader.dataset.data_root = str(root)
    return DATASETS.build(config.train_dataloader.dataset)


def test_an_instance_takes_the_same_row_in_every_frame_of_a_scene(data_root):
    from tests.mmdistill3d.conftest import load

    config = load('distill/losses/crd_instance.py')
    frames = [sample['data_samples'] for sample in build(config, data_root)]
    first, second = (
        {
            int(number): (label, size / frame.pcd_scale_factor)
            for number, label, size in zip(
                frame.gt_instances_3d.instance_id,
                frame.gt_instances_3d.labels_3d.tolist(),
                frame.gt_instances_3d.bboxes_3d.dims,
                strict=True,
            )
        }
        for frame in frames[:2]
    )
    both = first.keys() & second.keys()
    assert len(both) > 5
    for number in both:  # a simulated object keeps its class and size
        assert first[number][0] == second[number][0]
        torch.testing.assert_close(first[number][1], second[number][1])

    granularity = dict(type='object', point_cloud_range=config.point_cloud_range, axes='xy')
    widths = dict(student_channels=64, teacher_channels=128)
    loss = config.model.links.crd_instance.loss
    loss = MODELS.build({**loss, **widths, 'granularity': granularity})
    rows = []
    for frame in frames[:2]:
        loss(torch.randn(1, 64, 64, 64), torch.randn(1, 128, 64, 64), data_samples=[frame])
        rows.append({int(n): i for i, n in enumerate(loss.memory.row_instance) if n >= 0})
    assert {number: rows[0][number] for number in both} == {n: rows[1][n] for n in both}
    assert loss.memory.filled.sum() == len(first.keys() | second.keys())


def test_info_files_without_instances_train_with_queues_and_say_how_to_get_rows_by_instance(
    data_root, tmp_path
):
    from tests.mmdistill3d.conftest import load

    infos = pickle.loads((data_root / 'nuscenes_infos_train.pkl').read_bytes())
    for frame in infos['data_list']:
        for instance in frame['instances']:
            del instance['instance_token']
    older = tmp_path / 'older'
    older.mkdir()
    for folder in ('samples', 'sweeps'):
        (older / folder).symlink_to(data_root / folder)
    (older / 'nuscenes_infos_train.pkl').write_bytes(pickle.dumps(infos))
    assert build(load('distill/losses/contrastive.py'), older)[0] is not None
    with pytest.raises(KeyError, match=r'tools/create_data.py.*tools/create_lidarsim.py'):
        build(load('distill/losses/crd_instance.py'), older)[0]
