"""Recorders by type, passes that are cut short, and the hook that records without a distiller."""

import copy
from collections import namedtuple

import pytest
import torch
from mmengine.registry import MODELS, TASK_UTILS
from mmengine.runner import Runner
from torch import nn

from mmdistill import Distiller, FeatureRecorder, record_layers
from mmdistill.reading import ModuleInputs, Recorder, build_recorder
from tests.mmdistill.tiny import TinyClassifier, runner_config


def seen(model, *specs, **inputs):
    inputs = inputs or dict(inputs=torch.ones(2, 3, 8, 8))
    with record_layers(model, *map(build_recorder, specs)) as values:
        model(**inputs)
    return list(values.values())


@MODELS.register_module(force=True)
class NoExample(TinyClassifier):
    """A model for which nobody can make up a batch."""

    example_batch = None


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TinyClassifier(8).eval()


def test_each_kind_of_recorder_is_built_by_its_type(model):
    image, weight, feature, logits, same = seen(
        model,
        dict(type='ModuleInputs', layer='backbone[image]'),
        dict(type='Parameters', layer='head.weight'),
        dict(type='MethodResult', layer='backbone', method='forward', select='[1]'),
        dict(type='MethodResult', layer='', method='forward'),
        'backbone[1]',
    )
    assert image.shape == (2, 3, 8, 8) and weight is model.head.weight
    assert feature is same
    torch.testing.assert_close(logits, model.head(feature.mean((2, 3))))


def test_the_short_forms_mean_the_same_recorders():
    assert build_recorder(dict(layer='a[0]', source='input')) == ModuleInputs('a[0]')
    assert build_recorder('a') == build_recorder(dict(type='ModuleOutputs', layer='a'))


def test_a_recorder_of_ones_own_is_a_class_in_the_registry(model):
    from dataclasses import dataclass

    @TASK_UTILS.register_module(force=True)
    @dataclass(frozen=True)
    class Gradients(Recorder):
        """The weights of a layer, doubled."""

        def attach(self, model, role, store):
            store(2 * model.head.weight, lambda value: value)
            return lambda: None

    (doubled,) = seen(model, dict(type='Gradients', layer='head'))
    torch.testing.assert_close(doubled, 2 * model.head.weight)


@pytest.mark.parametrize(
    ('spec', 'message'),
    [
        (dict(type='Parameters', layer='head.wait'), "no parameter or buffer 'head.wait'.*weight"),
        (dict(type='MethodResult', layer='head', method='go'), "no method 'go'.*forward"),
        (dict(type='ModuleInputs', layer='head'), 'need a selector'),
        (dict(type='ModuleOutputs', layer='head', clones=True), 'takes .*clone'),
    ],
)
def test_wrong_recorders_say_what_there_is(model, spec, message):
    with pytest.raises((KeyError, ValueError), match=message):
        FeatureRecorder(model, [spec])


def test_a_module_called_by_its_forward_is_recorded_too():
    class Bypasses(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, inputs):
            return self.layer.forward(inputs)

    model = Bypasses()
    taken, given = seen(
        model, dict(layer='layer[0]', source='input'), 'layer', inputs=torch.ones(1, 2)
    )
    torch.testing.assert_close(given, model.layer(taken))
    assert 'forward' not in vars(model.layer)


def test_a_key_may_be_any_text_and_a_number_is_no_sample():
    class Keys(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = Head()

        def forward(self, inputs):
            return self.head(inputs)

    class Head(nn.Module):
        def forward(self, inputs):
            return {'s5.scores': inputs}

    (scores,) = seen(Keys(), "head['s5.scores']")
    assert scores.shape == (2, 3, 8, 8)
    with pytest.raises(KeyError, match='one sample out of the batch'):
        seen(Keys(), "head['s5.scores'][0]")


def test_replaced_layers_are_found_at_the_next_pass(model):
    recorder = FeatureRecorder(model, ['head'])
    model.head = nn.Linear(8, 7)  # as SyncBN conversion replaces layers
    with recorder.record() as recording:
        with recording.listen():
            model(torch.ones(2, 3, 8, 8))
        assert recording['head'].shape == (2, 7)


class Tail(nn.Module):
    """A layer, and behind it something that may fail or run the layer again."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.fails, self.repeats, self.writes = False, False, False

    def forward(self, inputs):
        try:
            inputs = self.layer(inputs)
        except Exception:
            return 'absorbed'
        if self.repeats:
            inputs = self.layer(inputs)
        if self.writes:
            inputs.mul_(0)
        if self.fails:
            raise ArithmeticError('behind the last layer')
        return inputs


def read(recorder, size=3):
    with recorder.record() as recording:
        with recording.listen(stop_early=True, batch_size=size):
            recorder.model(torch.ones(size, 2))
        return recording['layer']


def test_what_fails_behind_the_last_layer_is_not_needed():
    model = Tail()
    model.fails = True
    recorder = FeatureRecorder(model, ['layer'])
    for _ in range(3):
        torch.testing.assert_close(read(recorder), model.layer(torch.ones(3, 2)))


def test_what_is_written_behind_the_last_layer_is_not_seen():
    """Also in the passes that run on to count calls: heads decode into their answers."""
    model = Tail()
    model.writes = True
    recorder = FeatureRecorder(model, ['layer'])
    for _ in range(3):
        torch.testing.assert_close(read(recorder), model.layer(torch.ones(3, 2)))


def test_a_model_cannot_swallow_the_signal_that_ends_its_pass():
    recorder = FeatureRecorder(Tail(), ['layer'])
    read(recorder)
    with recorder.record() as recording, recording.listen(stop_early=True, batch_size=3):
        recorder.model(torch.ones(3, 2))
        pytest.fail('the pass went on')


@pytest.mark.parametrize('size', [3, 5])
def test_a_layer_that_runs_twice_in_a_later_batch_is_noticed(size):
    """At once in a batch of another size, else at the next pass that counts."""
    model = Tail()
    recorder = FeatureRecorder(model, ['layer'])
    for _ in range(3):
        read(recorder)
    model.repeats = True
    with pytest.raises(KeyError, match='ran 2 times in one forward pass'):
        for _ in range(1 if size != 3 else 8):
            read(recorder, size)


def test_named_tuples_reach_a_teacher_as_they_are(distiller_config, batch):
    Pair = namedtuple('Pair', 'image other')

    @MODELS.register_module(force=True)
    class TakesPairs(TinyClassifier):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            image = inputs.image if isinstance(inputs, Pair) else inputs
            return super().forward(image, data_samples, mode)

    config = distiller_config()
    config['student']['type'] = config['teacher']['config']['type'] = 'TakesPairs'
    distiller = MODELS.build(config)
    distiller.init_weights()
    pair = Pair(batch['inputs'], [1, 2])
    losses = distiller(inputs=pair, data_samples=batch['data_samples'], mode='loss')
    assert losses['distill/attention'] > 0


def test_a_student_may_hide_its_arguments(distiller_config, crd_link, batch):
    @MODELS.register_module(force=True)
    class Hides(TinyClassifier):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs)

    config = distiller_config(links=dict(crd=crd_link))
    config['student']['type'] = 'Hides'
    distiller = MODELS.build(config)
    distiller.init_weights()
    assert distiller(**batch, mode='loss')['distill/crd'] > 0


class TestHook:
    """Statistics and tensors of a plain model, in training and in testing."""

    @pytest.fixture
    def config(self, tmp_path):
        hook = dict(
            type='RecordHook',
            layers=dict(low='backbone.stem', both='backbone'),
            interval=2,
            statistics=('mean', 'zeros'),
            save_to=str(tmp_path / 'features'),
        )
        return runner_config(tmp_path, dict(type='TinyClassifier'), epochs=1, custom_hooks=[hook])

    def test_it_logs_and_saves_in_training(self, config, tmp_path):
        runner = Runner.from_cfg(config)
        runner.train()
        scalars = runner.message_hub.log_scalars
        names = {name for name in scalars if name.startswith('train/layers/')}
        assert names == {
            f'train/layers/{layer}/{statistic}'
            for layer in ('low', 'both.0', 'both.1')
            for statistic in ('mean', 'zeros')
        }
        assert len(scalars['train/layers/low/mean'].data[0]) == 1  # 3 iterations, every second
        saved = torch.load(tmp_path / 'features/train_1.pt')
        assert [value.shape for value in saved['both']] == [(4, 8, 8, 8)] * 2
        mean = scalars['train/layers/low/mean'].data[0][0]
        assert mean == pytest.approx(float(saved['low'][0].mean()))
        assert not any(m._forward_hooks for m in runner.model.modules())

    def test_it_reports_in_testing(self, config, tmp_path):
        runner = Runner.from_cfg(config)
        runner.test()
        assert (tmp_path / 'features/test_1.pt').exists()

    def test_a_wrong_layer_fails_before_the_run(self, config):
        config['custom_hooks'][0]['layers']['low'] = 'backbone.stemm'
        with pytest.raises(KeyError, match="no layer 'backbone.stemm'; nearest.*stem"):
            Runner.from_cfg(config).train()


class TestWidths:
    """What a config leaves to the layers, read when the distiller is built."""

    def test_connectors_and_losses_read_their_channels(self, distiller_config):
        config = distiller_config()
        config['links'] = dict(
            fit=dict(
                student='backbone[1]',
                teacher='backbone[1]',
                student_connector=dict(type='ConvConnector'),
                loss=dict(type='FitNetLoss'),
            ),
            crd=dict(student='backbone[1]', teacher='backbone[1]', loss=dict(type='CRDLoss')),
        )
        links = MODELS.build(config).links
        assert links['fit'].student_connector[0].conv.weight.shape == (16, 8, 1, 1)
        assert links['crd'].loss.widths == dict(student_channels=8, teacher_channels=16)

    def test_reading_leaves_no_trace(self, distiller_config, crd_link):
        """Neither random numbers, nor statistics, nor modes, nor memory."""
        states = []
        for kind in ('TinyClassifier', 'NoExample'):
            config = distiller_config(links=dict(crd=copy.deepcopy(crd_link)))
            config['student']['type'] = kind
            torch.manual_seed(3)
            distiller = MODELS.build(config)
            assert all(module.training for module in distiller.student.modules())
            states.append((distiller.state_dict(), torch.rand(1)))
        assert states[0][0].keys() == states[1][0].keys()
        assert all(torch.equal(value, states[1][0][key]) for key, value in states[0][0].items())
        assert states[0][1] == states[1][1]

    def test_a_model_without_an_example_needs_widths_and_says_so(self, distiller_config):
        config = distiller_config()
        config['student']['type'] = 'NoExample'
        config['links']['attention'].update(loss=dict(type='CRDLoss'))
        with pytest.raises(ValueError, match="link 'attention'.*student_channels is not known"):
            MODELS.build(config)

    def test_a_teacher_connector_that_would_never_train_is_refused(self, distiller_config):
        config = distiller_config()
        config['links']['attention']['teacher_connector'] = dict(type='ConvConnector')
        with pytest.raises(ValueError, match=r"link 'attention'.*ConvConnector.*never be trained"):
            MODELS.build(config)

    def test_a_student_may_be_a_file_with_a_checkpoint_and_changes(
        self, distiller_config, tmp_path
    ):
        path = tmp_path / 'student.py'
        path.write_text("model = dict(type='TinyClassifier', width=8, inplace=False)")
        weights = TinyClassifier(6).state_dict()
        torch.save(dict(state_dict=weights), tmp_path / 'student.pth')
        student = dict(config=str(path), checkpoint=str(tmp_path / 'student.pth'), width=6)
        distiller = MODELS.build(distiller_config(student=student))
        distiller.init_weights()
        state = distiller.student.state_dict()
        assert all(torch.equal(value, weights[key]) for key, value in state.items())
        with pytest.raises(ValueError, match=r"\['widht'\] are neither"):
            MODELS.build(distiller_config(student=dict(config=str(path), widht=6)))


def test_a_teacher_of_whom_parameters_alone_are_read_does_not_run(distiller_config, batch):
    weight = dict(type='Parameters', layer='head.weight')
    links = dict(head=dict(student=weight, teacher=weight, loss=dict(type='RKDLoss')))
    distiller = MODELS.build(distiller_config(links=links))
    distiller.init_weights()
    model = distiller.teachers['teacher'].model
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    losses = [distiller(**batch, mode='loss')['distill/head'] for _ in range(4)]
    assert all(torch.equal(losses[0], loss) for loss in losses) and losses[0] > 0
    assert not calls


def test_the_students_own_losses_may_weigh_less(distiller_config, batch):
    config = distiller_config(student_weight=0.25)
    distiller = MODELS.build(config)
    distiller.init_weights()
    distiller.eval()
    losses = distiller(**batch, mode='loss')
    alone = distiller.student(**batch, mode='loss')['loss_cls']
    torch.testing.assert_close(losses['loss_cls'], 0.25 * alone)
    total, log = distiller.parse_losses(losses)
    torch.testing.assert_close(total, losses['loss_cls'] + losses['distill/attention'])
    assert log['student_weight'] == 0.25


def test_the_teachers_preprocessor_is_in_eval_mode(distiller_config, batch):
    """Training augmentation of a teacher's own preprocessor would show it another input."""
    from mmengine.model import BaseDataPreprocessor

    seen_modes = []

    @MODELS.register_module(force=True)
    class NotesMode(BaseDataPreprocessor):
        def forward(self, data, training=False):
            seen_modes.append((training, self.training))
            return data

    config = distiller_config()
    config['teacher']['config']['preprocessor'] = dict(type='NotesMode')
    distiller: Distiller = MODELS.build(config)
    distiller.init_weights()
    distiller.train()
    seen_modes.clear()
    distiller.data_preprocessor(dict(batch), True)
    assert seen_modes == [(False, False)]
