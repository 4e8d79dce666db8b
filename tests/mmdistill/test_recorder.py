"""Layer addresses and recorders."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmdistill import FeatureRecorder, LayerAddress, record_layers


class Toy(nn.Module):
    """Nested outputs, an inplace ReLU, a module called twice, keyword inputs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 1)
        self.relu = nn.ReLU(inplace=True)
        self.twice = nn.Conv2d(3, 3, 1)
        self.branches = nn.ModuleList([Branch(), Branch()])
        self.unused = nn.Identity()

    def forward(self, x):
        x = self.twice(self.twice(self.relu(self.conv(x))))
        return [branch(x, scale=2.0) for branch in self.branches]


class Branch(nn.Module):
    def forward(self, x, scale):
        return ({'heatmap': x * scale, 'boxes': (x, x + 1)},)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Toy()


def record(model, *specs, needs_grad=False):
    """Run the model once and return what the addresses read."""
    recorder = FeatureRecorder(model, specs, 'toy', needs_grad)
    with recorder.record() as recording:
        with recording.listen():
            model(torch.ones(1, 2, 4, 5))
        return [recording[spec] for spec in specs]


def test_selectors_reach_through_tuples_lists_and_dicts(model):
    x, heatmap, second = record(
        model,
        dict(layer='branches[1][x]', source='input'),
        'branches[1][0].heatmap',
        'branches.0[0][boxes][1]',
    )
    torch.testing.assert_close(heatmap, 2 * x)
    torch.testing.assert_close(second, x + 1)


def test_inputs_are_read_by_position_and_by_keyword(model):
    position, name, scale = record(
        model,
        dict(layer='branches[0][0]', source='input'),
        dict(layer='branches[0][x]', source='input'),
        dict(layer='branches[0][scale]', source='input'),
    )
    assert position is name
    assert scale == 2.0


@pytest.mark.parametrize(
    ('path', 'hint'),
    [('branch', 'branches'), ('convv', "'conv'"), ('branches[7]', 'top level'), ('conv.x', 'conv')],
)
def test_a_wrong_path_fails_at_once_and_lists_near_names(model, path, hint):
    with pytest.raises(KeyError, match='the toy .* has no layer') as error:
        LayerAddress.parse(path, model, 'toy')
    assert hint in str(error.value)


@pytest.mark.parametrize(
    'spec', ['', 'conv[', 'conv]0[', 'conv[0]x', {'layer': 'conv', 'clones': True}, 3]
)
def test_text_that_is_no_address_is_refused(model, spec):
    with pytest.raises(ValueError, match='address|path'):
        FeatureRecorder(model, [spec], 'toy')


def test_a_selector_that_does_not_fit_says_what_is_there(model):
    with pytest.raises(KeyError, match=r"dict with keys \['boxes', 'heatmap'\].*'score'"):
        record(model, 'branches[0][0].score')


def test_a_module_called_twice_needs_a_choice_of_the_call(model):
    with pytest.raises(KeyError, match=r'ran 2 times.*call=0'):
        record(model, 'twice')
    first, last, both = record(
        model,
        dict(layer='twice', call=0),
        dict(layer='twice', call=1),
        dict(layer='twice', call='all'),
    )
    assert both[0] is first and both[1] is last and first is not last


def test_a_change_in_place_after_recording_is_noticed(model):
    with pytest.raises(RuntimeError, match='layer conv was changed in place.*clone=True'):
        record(model, 'conv')
    (copied,) = record(model, dict(layer='conv', clone=True))
    torch.testing.assert_close(copied, model.conv(torch.ones(1, 2, 4, 5)))


def test_a_replaced_item_of_a_recorded_list_is_noticed():
    class Replaces(nn.Module):
        def __init__(self):
            super().__init__()
            self.split = Branches()

        def forward(self, x):
            parts = self.split(x)
            parts[0] = parts[0] * 100
            return parts

    class Branches(nn.Module):
        def forward(self, x):
            return [x, x]

    with pytest.raises(RuntimeError, match='changed in place'):
        record_linear(Replaces(), 'split')


def test_a_number_behind_a_sequential_is_refused_with_its_two_meanings():
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match=r"its child is '0.0', and \[0\] would cut"):
        LayerAddress.parse('0[0]', model, 'toy')


def test_a_layer_that_does_not_run_is_an_error_at_reading(model):
    with pytest.raises(KeyError, match='layer unused did not run'):
        record(model, 'unused')


def test_nothing_is_held_and_no_hook_is_left_also_after_an_error(model):
    address = 'branches[0][0].heatmap'
    recorder = FeatureRecorder(model, [address])
    for fails in (False, True):
        try:
            with recorder.record() as recording:
                with recording.listen():
                    model(torch.ones(1, 2, 4, 5))
                    if fails:
                        raise ArithmeticError
                reference = weakref.ref(recording[address])
        except ArithmeticError:
            pass
        gc.collect()
        assert reference() is None
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_early_stop_ends_the_pass_behind_the_last_layer_but_first_counts_calls(model):
    ran = []
    model.branches[0].register_forward_hook(lambda *_: ran.append('branch'))
    address = 'relu'
    recorder = FeatureRecorder(model, [address])
    for expected in (['branch'], ['branch']):
        with recorder.record() as recording:
            with recording.listen(stop_early=True):
                model(torch.ones(1, 2, 4, 5))
            assert recording[address].shape == (1, 3, 4, 5)
        assert ran == expected


@pytest.mark.parametrize('use_reentrant', [True, False])
def test_activation_checkpointing(model, use_reentrant):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Tanh())

        def forward(self, x):
            return checkpoint(self.inner, x.requires_grad_(), use_reentrant=use_reentrant)

    outer = Checkpointed()
    if use_reentrant:
        with pytest.raises(RuntimeError, match='without gradients.*use_reentrant=False'):
            record(outer, 'inner.0', needs_grad=True)
    else:
        (feature,) = record(outer, 'inner.0', needs_grad=True)
        feature.sum().backward()
        assert outer.inner[0].weight.grad is not None


def test_one_module_under_two_names_is_recorded_under_both():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Linear(2, 2)
            self.other = self.one

        def forward(self, x):
            return self.one(x)

    one, other = record_linear(Shared(), 'one', 'other')
    assert one is other


def record_linear(model, *specs):
    with record_layers(model, *specs) as values:
        model(torch.ones(1, 2))
    return list(values.values())
