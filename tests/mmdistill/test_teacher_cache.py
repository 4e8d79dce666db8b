"""A teacher with a cache computes a batch once, and never takes one batch for another."""

import copy

import pytest
import torch
from mmengine.registry import MODELS

from mmdistill import Teacher, teacher_cache
from mmdistill.reading import build_recorder
from mmdistill.teacher_cache import TeacherCache


@pytest.fixture
def make_teacher(teacher_file, tmp_path):
    def make(specs=('backbone[1]', 'backbone'), checkpoint=teacher_file):
        teacher = Teacher(
            config=dict(type='TinyClassifier', width=16),
            checkpoint=str(checkpoint),
            cache=tmp_path / 'cache',
        )
        passes = []
        teacher.model.backbone.register_forward_hook(lambda *_: passes.append(1))
        teacher.watch(specs)
        return teacher, specs, passes

    return make


def features(teacher, addresses, batch):
    with teacher.run(**batch) as recording:
        return [recording[address] for address in addresses]


def test_a_batch_is_computed_once_also_by_another_run(make_teacher, batch):
    teacher, addresses, passes = make_teacher()
    first = features(teacher, addresses, batch)
    again, its_addresses, its_passes = make_teacher()
    second = features(again, its_addresses, copy.deepcopy(batch))
    assert len(passes) == 1 and not its_passes
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))


def test_a_full_disk_is_left_to_others(make_teacher, batch, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(teacher_cache, 'LEFT_FREE', 1 << 60)
    monkeypatch.setattr(teacher_cache, 'print_log', lambda text, *_: said.append(text))
    teacher, addresses, passes = make_teacher()
    values = [features(teacher, addresses, batch)[0] for _ in range(2)]
    assert len(passes) == 2 and torch.equal(*values)
    assert not list((tmp_path / 'cache').rglob('*.pt'))
    assert len(said) == 1 and 'stores nothing more' in said[0]


@pytest.mark.parametrize('part', ['inputs', 'sample', 'field'])
def test_another_batch_is_computed(make_teacher, batch, part):
    teacher, addresses, passes = make_teacher()
    features(teacher, addresses, batch)
    other = copy.deepcopy(batch)
    if part == 'inputs':
        other['inputs'][3, 0, 0, 0] += 1e-6
    elif part == 'field':
        other['data_samples'][2].set_field(torch.ones(2), 'gt_label')
    else:
        other['data_samples'][2].set_metainfo(dict(label=9))
    features(teacher, addresses, other)
    assert len(passes) == 2


def test_the_order_of_fields_does_not_matter(tmp_path):
    """A sample keeps them in a set, whose order is another in each process."""
    values = dict(lidar_path='a.bin', sample_idx=3, pcd_trans=[0.5, 1.0])
    cache = TeacherCache(tmp_path)
    assert cache.key(values) == cache.key(dict(reversed(values.items())))
    assert cache.key(values) != cache.key({**values, 'sample_idx': 4})


def test_another_precision_is_computed(make_teacher, batch):
    teacher, addresses, passes = make_teacher()
    features(teacher, addresses, batch)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast('cpu', dtype=dtype):
            for _ in range(2):
                features(teacher, addresses, batch)
    assert len(passes) == 3


def test_another_layer_is_computed(make_teacher, batch):
    teacher, addresses, _ = make_teacher(specs=['backbone[1]'])
    features(teacher, addresses, batch)
    teacher, addresses, passes = make_teacher(specs=['backbone[1]', 'backbone.stem'])
    features(teacher, addresses, batch)
    assert len(passes) == 1


def test_other_weights_are_another_teacher(make_teacher, batch, tmp_path):
    teacher, addresses, _ = make_teacher()
    features(teacher, addresses, batch)
    torch.manual_seed(7)
    other = tmp_path / 'other.pth'
    model = MODELS.build(dict(type='TinyClassifier', width=16))
    torch.save(dict(state_dict=model.state_dict()), other)
    teacher, addresses, passes = make_teacher(checkpoint=other)
    features(teacher, addresses, batch)
    assert len(passes) == 1


def test_predictions_are_always_computed(make_teacher, batch):
    teacher, _, passes = make_teacher()
    for _ in range(2):
        with teacher.run(**batch, to_end=True) as recording:
            assert len(recording.predictions) == 6
    assert len(passes) == 2


def test_a_distiller_takes_it_by_config(distiller_config, batch, tmp_path):
    config = distiller_config()
    config['teacher']['cache'] = str(tmp_path / 'cache')
    values = []
    for _ in range(2):
        torch.manual_seed(0)
        distiller = MODELS.build(config)
        distiller.init_weights()
        values.append(distiller.eval()(**batch, mode='loss')['distill/attention'])
    assert values[0] == values[1] > 0
    assert list((tmp_path / 'cache').glob('*/*.pt'))


def test_sparse_tensors_are_kept(tmp_path):
    from spconv.pytorch import SparseConvTensor

    indices = torch.tensor([[0, 1, 2, 3], [1, 0, 0, 0]], dtype=torch.int32)
    sparse = SparseConvTensor(torch.randn(2, 5), indices, [4, 4, 4], 2)
    cache, layer = TeacherCache(tmp_path), build_recorder('encoder')
    cache.write('batch', {layer: dict(stages=[sparse, torch.ones(2)])})
    stages = cache.read('batch', [layer])[layer]['stages']
    assert type(stages[0]) is SparseConvTensor and stages[0].batch_size == 2
    assert stages[0].spatial_shape == [4, 4, 4]
    torch.testing.assert_close(stages[0].dense(), sparse.dense())


def test_what_cannot_be_kept_is_named(tmp_path):
    with pytest.raises(ValueError, match='head is of type object.*remove teacher.cache'):
        TeacherCache(tmp_path).write('batch', {build_recorder('head'): object()})
