"""Weights to ship: small, complete, and with a note of where they come from."""

import hashlib
import json

import pytest
import torch
from torch import nn

from mmdistill.teacher import load_strictly
from mmdistill.utils.checkpoint import load_weights
from mmdistill.utils.publish import publish_weights


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 3))


@pytest.fixture
def checkpoint(tmp_path):
    """A training checkpoint, with more in it than weights."""
    path = tmp_path / 'epoch_3.pth'
    model = network()
    momenta = [torch.zeros_like(p) for p in model.parameters()] * 2
    meta = dict(epoch=3, iter=30, seed=1, dataset_meta=dict(classes=('car', 'bus')), cfg='x' * 999)
    torch.save(dict(meta=meta, state_dict=model.state_dict(), optimizer=momenta), path)
    return path


def test_the_weights_load_strictly_and_are_the_same_to_half_precision(checkpoint, tmp_path):
    out = tmp_path / 'shipped' / 'teacher.pth'
    publish_weights(checkpoint, out, {})
    model, trained = network(), network().state_dict()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    load_strictly(model, load_weights(str(out))['state_dict'], 'teacher')
    for key, value in model.state_dict().items():
        assert value.dtype == trained[key].dtype
        torch.testing.assert_close(value, trained[key], rtol=1e-3, atol=1e-6)


def test_the_file_holds_weights_and_classes_alone(checkpoint, tmp_path):
    out = tmp_path / 'teacher.pth'
    publish_weights(checkpoint, out, {})
    content = torch.load(out, weights_only=True)
    assert set(content) == {'meta', 'state_dict'}
    assert content['meta']['dataset_meta']['classes'] == ('car', 'bus')
    assert 'cfg' not in content['meta']
    assert out.stat().st_size < checkpoint.stat().st_size / 3


def test_the_note_says_what_the_file_is(checkpoint, tmp_path):
    out = tmp_path / 'teacher.pth'
    returned = publish_weights(checkpoint, out, dict(seed=1, command='train', metrics={'mAP': 0.5}))
    note = json.loads(out.with_suffix('.json').read_text())
    assert note == returned
    assert note['sha256'] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert note['bytes'] == out.stat().st_size
    assert (note['seed'], note['command'], note['metrics']) == (1, 'train', {'mAP': 0.5})


@pytest.mark.parametrize('value', [float('nan'), 1e6])
def test_weights_that_half_precision_cannot_hold_are_refused(checkpoint, tmp_path, value):
    content = torch.load(checkpoint, weights_only=True)
    content['state_dict']['0.weight'][0, 0] = value
    torch.save(content, checkpoint)
    with pytest.raises(ValueError, match=r'0\.weight does not fit float16'):
        publish_weights(checkpoint, tmp_path / 'teacher.pth', {})
    assert not (tmp_path / 'teacher.pth').exists()


def test_of_a_distillation_runs_checkpoint_the_student_is_published(checkpoint, tmp_path):
    student = network()
    distiller = nn.ModuleDict(dict(student=student, links=nn.Linear(2, 2))).state_dict()
    distiller.update(student.state_dict())  # as StudentCheckpointHook adds them
    torch.save(dict(meta=dict(teachers={}), state_dict=distiller), checkpoint)
    publish_weights(checkpoint, tmp_path / 'student.pth', {})
    published = load_weights(str(tmp_path / 'student.pth'))['state_dict']
    assert published.keys() == student.state_dict().keys()
    assert published._metadata['1'] == student.state_dict()._metadata['1']
