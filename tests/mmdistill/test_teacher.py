"""Loading a teacher: strictly, readably, reproducibly."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement

from mmdistill import Teacher
from mmdistill.teacher import load_strictly
from tests.mmdistill.tiny import TinyClassifier

WIDE = dict(type='TinyClassifier', width=16)


def test_weights_are_those_of_the_file(teacher_file):
    teacher = Teacher(WIDE, str(teacher_file))
    teacher.load()
    stored = torch.load(teacher_file)['state_dict']
    assert all(torch.equal(v, stored[k]) for k, v in teacher.model.state_dict().items())


def test_config_may_be_a_file_a_dict_with_model_or_the_model(teacher_file, tmp_path):
    path = tmp_path / 'teacher.py'
    path.write_text(f'model = {WIDE!r}')
    prints = {
        Teacher(config, str(teacher_file)).fingerprint()
        for config in (path, str(path), dict(model=WIDE), WIDE, Config.fromfile(path))
    }
    assert len(prints) == 1


def test_a_package_config_is_found_by_name():
    teacher = Teacher(
        'mmdet3d::pointpillars/pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class.py',
        allow_random_weights=True,
    )
    assert type(teacher.model).__name__ == 'VoxelNet'


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda s: s.pop('head.bias'), r'missing    \(1\): head.bias'),
        (lambda s: s.update(extra=torch.ones(1)), r'unexpected \(1\): extra'),
        (lambda s: s.update({'head.bias': torch.ones(7)}), r'other shape:.*head.bias.*\[7\]'),
    ],
)
def test_a_file_that_does_not_fit_is_an_error_that_lists_the_keys(teacher_file, change, message):
    content = torch.load(teacher_file)
    change(content['state_dict'])
    torch.save(content, teacher_file)
    with pytest.raises(ValueError, match=f'(?s)do not fit TinyClassifier.*{message}'):
        Teacher(WIDE, str(teacher_file)).load()


def test_a_training_checkpoint_of_a_distiller_is_read_as_its_student(teacher_file):
    state = torch.load(teacher_file)['state_dict']
    model = Teacher(WIDE, allow_random_weights=True).model
    load_strictly(model, {f'student.{k}': v for k, v in state.items()}, 'teacher')
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_weights_of_a_ddp_model_are_read(teacher_file):
    state = torch.load(teacher_file)['state_dict']
    model = Teacher(WIDE, allow_random_weights=True).model
    load_strictly(model, {f'module.{k}': v for k, v in state.items()}, 'teacher')
    assert torch.equal(model.head.bias, state['head.bias'])


def test_a_truncated_file_is_an_error_that_names_it(teacher_file):
    teacher_file.write_bytes(teacher_file.read_bytes()[:500])
    with pytest.raises(ValueError, match=r'teacher.pth cannot be read.*cut short'):
        Teacher(WIDE, str(teacher_file)).load()


def test_missing_config_or_checkpoint_says_what_to_give(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'config nowhere.py does not exist'):
        Teacher('nowhere.py', 'x.pth')
    with pytest.raises(FileNotFoundError, match=r'no checkpoint at nowhere.pth; train it'):
        Teacher(WIDE, 'nowhere.pth').load()
    with pytest.raises(ValueError, match='has no checkpoint'):
        Teacher(WIDE)
    with pytest.raises(ValueError, match='without model.type'):
        Teacher(dict(width=3), 'x.pth')


def test_fingerprint_tells_weights_and_configs_apart(teacher_file):
    first = Teacher(WIDE, str(teacher_file)).fingerprint()
    assert first == Teacher(WIDE, str(teacher_file)).fingerprint()
    assert first != Teacher(dict(WIDE, inplace=True), str(teacher_file)).fingerprint()
    content = torch.load(teacher_file)
    content['state_dict']['head.bias'][0] += 1e-6
    torch.save(content, teacher_file)
    assert first != Teacher(WIDE, str(teacher_file)).fingerprint()


def test_what_a_teacher_writes_into_its_input_the_student_does_not_see():
    @MODELS.register_module(force=True)
    class WritesIntoItsInput(TinyClassifier):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            inputs['image'].mul_(0)
            return super().forward(inputs.pop('image'), data_samples, mode)

    teacher = Teacher(dict(type='WritesIntoItsInput'), allow_random_weights=True)
    teacher.watch(['head'])
    inputs = dict(image=torch.ones(2, 3, 8, 8))
    for _ in range(2):
        with teacher.run(inputs=inputs, data_samples=[BaseDataElement()] * 2) as recording:
            assert recording['head'].shape == (2, 4)
    assert torch.equal(inputs['image'], torch.ones(2, 3, 8, 8))


def test_a_teacher_that_predicts_in_windows_runs_on_whole_samples():
    @MODELS.register_module(force=True)
    class Slides(TinyClassifier):
        test_cfg = dict(mode='slide')

        def forward(self, inputs, data_samples=None, mode='tensor'):
            inputs = inputs[..., :4, :4] if mode == 'predict' else inputs
            return super().forward(inputs, data_samples, mode)

    teacher = Teacher(dict(type='Slides'), allow_random_weights=True)
    teacher.watch(['backbone[1]'])
    with teacher.run(inputs=torch.ones(2, 3, 8, 8)) as recording:
        assert recording['backbone[1]'].shape == (2, 8, 8, 8)
    with pytest.raises(ValueError, match="need the teacher's predictions.*'tensor'"):
        teacher.demand_predictions()
