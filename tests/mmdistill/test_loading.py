"""A checkpoint is loaded under the names that fit, or refused; never left out in silence."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseTTAModel
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner, load_checkpoint
from torch import nn

from mmdistill import Teacher
from mmdistill.apis.preflight.model import check_start
from mmdistill.checkpoints import for_distiller, student_part
from tests.mmdistill.tiny import HOOKS, TinyClassifier, TinyImages, runner_config

FIT = [dict(type='FitCheckpointHook')]


@pytest.fixture
def config(distiller_config):
    """A distiller whose link has weights of its own."""
    connector = dict(type='ConvConnector', in_channels=8, out_channels=16)
    link = dict(student='backbone[1]', teacher='backbone[1]', student_connector=connector)
    return distiller_config(links=dict(fit=dict(**link, loss=dict(type='FitNetLoss'))))


@pytest.fixture
def plain(config):
    return copy.deepcopy(config['student'])


@pytest.fixture
def distilled(config, tmp_path):
    """A finished distillation run: its folder, with epoch_1.pth and epoch_1_student.pth."""
    train(tmp_path / 'distilled', config, epochs=1)
    return tmp_path / 'distilled'


@pytest.fixture
def alone(plain, tmp_path):
    """A finished run of the plain student."""
    train(tmp_path / 'alone', plain, epochs=1, custom_hooks=[])
    return tmp_path / 'alone'


def build(work_dir, model, **settings):
    return Runner.from_cfg(runner_config(work_dir, copy.deepcopy(model), **settings))


def train(work_dir, model, **settings):
    runner = build(work_dir, model, **settings)
    runner.train()
    return runner


def weights(file):
    return torch.load(file)['state_dict']


def assert_equal(state, expected):
    assert state.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in state.items())


# ------------------------------------------------------------------ testing
def test_either_file_tests_alike_in_either_config(config, plain, distilled, tmp_path):
    metrics = [
        build(tmp_path / 'test', model, load_from=str(distilled / name), custom_hooks=hooks).test()
        for name in ('epoch_1.pth', 'epoch_1_student.pth')
        for model, hooks in (
            (config, [dict(type=f'{hook}Hook') for hook in HOOKS]),
            (config, []),
            (plain, FIT),
            (plain, []),
        )
    ]
    assert metrics[0] and all(metric == metrics[0] for metric in metrics)


def test_both_names_of_a_students_weight_are_stored_once(distilled):
    state = weights(distilled / 'epoch_1.pth')
    names = [name for name in state if 'student.' + name in state]
    assert len(names) == 6
    assert all(state[n].data_ptr() == state['student.' + n].data_ptr() for n in names)


def test_a_training_checkpoint_with_the_distillers_names_alone_tests_in_the_plain_config(
    plain, distilled, tmp_path
):
    """Such as runs without StudentCheckpointHook write."""
    content = torch.load(distilled / 'epoch_1.pth')
    own = content['state_dict']
    content['state_dict'] = {k: v for k, v in own.items() if k.startswith(('student.', 'links.'))}
    torch.save(content, tmp_path / 'named.pth')
    runner = build(
        tmp_path / 'test', plain, load_from=str(tmp_path / 'named.pth'), custom_hooks=FIT
    )
    runner.test()
    assert_equal(runner.model.state_dict(), weights(distilled / 'epoch_1_student.pth'))


@pytest.mark.parametrize('name', ['epoch_1.pth', 'epoch_1_student.pth'])
def test_a_file_of_another_model_is_refused_by_tests(config, plain, distilled, tmp_path, name):
    wide = dict(plain, width=12)
    for model, hooks in (
        (wide, FIT),
        ({**config, 'student': wide, 'links': {}}, [dict(type='DistillHook')]),
        ({**config, 'student': wide, 'links': {}}, []),
    ):
        settings = dict(load_from=str(distilled / name), custom_hooks=hooks)
        runner = build(tmp_path / 'test', model, **settings)
        with pytest.raises(ValueError, match=r'1 of 6 weights fit; other size: ') as caught:
            runner.test()
        assert 'backbone.stem.weight (8, 3, 3, 3) instead of (12, 3, 3, 3)' in str(caught.value)
        if hooks:
            assert f'{name} does not fit' in str(caught.value)
            assert "It was written by the run 'run_" in str(caught.value)


@DATASETS.register_module(force=True)
class TwoViews(TinyImages):
    """Each image as it is and mirrored, as test-time augmentation packs them."""

    def prepare_data(self, idx):
        item = super().prepare_data(idx)
        image, sample = item['inputs'], item['data_samples']
        return dict(inputs=[image, image.flip(-1)], data_samples=[sample, sample.clone()])


@MODELS.register_module(force=True)
class MeanOfViews(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        for first, *others in data_samples_list:
            first.scores = sum((sample.scores for sample in others), first.scores)
        return [views[0] for views in data_samples_list]


def test_test_time_augmentation_takes_either_file_and_config(config, plain, distilled, tmp_path):
    metrics = []
    for model, hooks in ((config, [dict(type=f'{hook}Hook') for hook in HOOKS]), (plain, FIT)):
        for name in ('epoch_1.pth', 'epoch_1_student.pth'):
            settings = dict(load_from=str(distilled / name), custom_hooks=hooks)
            loader = runner_config(tmp_path, model)['test_dataloader']
            loader['dataset']['type'] = 'TwoViews'
            wrapped = dict(type='MeanOfViews', module=copy.deepcopy(model))
            runner = build(tmp_path / 'test', wrapped, test_dataloader=loader, **settings)
            metrics.append(runner.test())
    assert metrics[0] and all(metric == metrics[0] for metric in metrics)


# ------------------------------------------------------------------ without a runner
@pytest.mark.parametrize('name', ['epoch_1.pth', 'epoch_1_student.pth'])
def test_a_model_is_loaded_without_a_runner(config, plain, distilled, name):
    """The way of ``mmdet3d.apis``, which also set ``train_cfg`` to None."""
    expected = weights(distilled / 'epoch_1_student.pth')
    distiller = MODELS.build(dict(config, train_cfg=None))
    load_checkpoint(distiller, str(distilled / name), map_location='cpu')
    assert_equal(distiller.student.state_dict(), expected)
    student = MODELS.build(plain)
    load_checkpoint(student, str(distilled / name), map_location='cpu')
    assert_equal(student.state_dict(), expected)


def test_a_train_cfg_of_the_distiller_is_refused(config):
    with pytest.raises(ValueError, match=r'train_cfg belongs to the student'):
        MODELS.build(dict(config, train_cfg=dict(assigner=None)))


def test_a_distiller_refuses_weights_that_lack_some_of_its_students(config, tmp_path):
    distiller = MODELS.build(config)
    for state in (
        nn.Linear(2, 2).state_dict(),
        TinyClassifier(12).state_dict(),
        {k: v for k, v in TinyClassifier(8).state_dict().items() if 'head' not in k},
    ):
        torch.save(dict(state_dict=state), tmp_path / 'other.pth')
        with pytest.raises(ValueError, match='do not fit the student, TinyClassifier: [014] of 6'):
            load_checkpoint(distiller, str(tmp_path / 'other.pth'))


def test_a_student_starts_from_a_distillation_runs_checkpoint_by_init_cfg(config, distilled):
    distiller = MODELS.build(config)
    start = dict(type='Pretrained', checkpoint=str(distilled / 'epoch_1.pth'))
    distiller.student.init_cfg = start
    distiller.init_weights()
    assert_equal(distiller.student.state_dict(), weights(distilled / 'epoch_1_student.pth'))


def test_a_distillation_runs_checkpoint_can_teach(plain, distilled):
    teachers = [
        Teacher(config=plain, checkpoint=str(distilled / name))
        for name in ('epoch_1.pth', 'epoch_1_student.pth')
    ]
    assert teachers[0].fingerprint() == teachers[1].fingerprint()


class Versioned(nn.Module):
    """Knows by its version how a file lays out its kernel, as sparse convolutions do."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.rand(2, 3))

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        if local_metadata.get('version') != 2:
            state_dict[prefix + 'kernel'] = state_dict[prefix + 'kernel'].T
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


def test_layers_keep_their_versions_under_either_name(config, plain, tmp_path):
    @MODELS.register_module(force=True)
    class VersionedClassifier(TinyClassifier):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.sparse = Versioned()

    config['student'] = plain = dict(plain, type='VersionedClassifier')
    runner = train(tmp_path / 'run', config, epochs=1)
    kernel = runner.model.student.sparse.kernel
    for name in ('epoch_1.pth', 'epoch_1_student.pth'):
        for model in (config, plain):
            loaded = MODELS.build(model)
            load_checkpoint(loaded, str(tmp_path / 'run' / name), map_location='cpu')
            student = loaded if model is plain else loaded.student
            assert torch.equal(student.sparse.kernel, kernel)


def test_a_student_called_student_within_is_told_apart():
    """Semi-supervised detectors have parts of that name themselves."""
    plain = nn.ModuleDict(dict(student=nn.Linear(2, 2), teacher=nn.Linear(2, 2)))
    distiller = nn.ModuleDict(dict(student=plain, links=nn.Linear(2, 2)))
    for state in (plain.state_dict(), distiller.state_dict()):
        both = copy.copy(state)
        assert for_distiller(both, plain.state_dict()).is_complete
        assert_equal(student_part(both), plain.state_dict())


# ------------------------------------------------------------------ a new run
@pytest.mark.parametrize('name', ['distilled/epoch_1_student.pth', 'alone/epoch_1.pth'])
def test_a_new_distillation_run_starts_from_a_plain_models_weights(
    config, distilled, alone, tmp_path, name
):
    hooks = [dict(type='DistillHook'), dict(type='EMAHook')]
    runner = train(
        tmp_path / 'new', config, epochs=0, load_from=str(tmp_path / name), custom_hooks=hooks
    )
    assert_equal(runner.model.student.state_dict(), weights(tmp_path / name))
    averaged = runner.hooks[[type(hook).__name__ for hook in runner.hooks].index('EMAHook')]
    assert_equal(averaged.ema_model.module.student.state_dict(), weights(tmp_path / name))


def test_a_new_plain_run_starts_from_a_distillation_runs_checkpoint(plain, distilled, tmp_path):
    file = distilled / 'epoch_1.pth'
    runner = train(tmp_path / 'new', plain, epochs=0, load_from=str(file), custom_hooks=FIT)
    assert_equal(runner.model.state_dict(), weights(distilled / 'epoch_1_student.pth'))


def test_a_new_run_may_start_from_some_of_the_weights_and_says_so(config, plain, tmp_path):
    state = TinyClassifier(8).state_dict()
    state['head.weight'] = torch.zeros(7, 8)  # other classes
    del state['head.bias']
    torch.save(dict(state_dict=state), tmp_path / 'pretrained.pth')
    for model, hooks in ((config, [dict(type='DistillHook')]), (plain, FIT)):
        settings = dict(load_from=str(tmp_path / 'pretrained.pth'), custom_hooks=hooks)
        runner = train(tmp_path / model['type'], model, epochs=0, **settings)
        student = runner.model if model is plain else runner.model.student
        assert torch.equal(student.backbone.stem.weight, state['backbone.stem.weight'])
        log = next((tmp_path / model['type']).glob('*/*.log')).read_text()
        assert '4 of 6 weights fit; missing: head.bias; other size: head.weight (7, 8)' in log
        assert 'the rest keeps its initialisation' in log


def test_a_new_run_does_not_start_from_a_file_of_which_nothing_fits(config, plain, tmp_path):
    torch.save(dict(state_dict=nn.Linear(2, 2).state_dict()), tmp_path / 'other.pth')
    for model, hooks in ((config, [dict(type='DistillHook')]), (plain, FIT)):
        settings = dict(load_from=str(tmp_path / 'other.pth'), custom_hooks=hooks)
        with pytest.raises(ValueError, match=r'other.pth does not fit this TinyClassifier: 0 of 6'):
            train(tmp_path / 'new', model, **settings)


def test_preflight_says_how_much_of_load_from_fits(config, plain, tmp_path):
    state = TinyClassifier(8).state_dict()
    contents = (state, {**state, 'head.weight': torch.ones(7, 8)}, nn.Linear(2, 2).state_dict())
    file = tmp_path / 'start.pth'
    for model in (config, plain):
        built = MODELS.build(model)
        run = SimpleNamespace(cfg=dict(load_from=str(file)), built_model=lambda model=built: model)
        findings = []
        for content in contents:
            torch.save(dict(state_dict=content), file)
            findings += check_start(run)
        assert [finding.verdict.value for finding in findings] == ['OK', 'WARNING', 'FAILED']
        assert 'other size: head.weight (7, 8) instead of (4, 8)' in findings[1].text
