"""A narrow model takes its weights out of a wide one."""

import copy

import pytest
import torch
from mmengine.runner import Runner
from torch import nn

from mmdistill.inherit import ChannelLayout, inherit
from tests.mmdistill.tiny import TinyClassifier, runner_config


class TwoScales(nn.Module):
    """Convolutions, a transposed one, and a head that reads two concatenated maps."""

    def __init__(self, width: int, depth: int = 2, classes: int = 3):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(2, width, 3, padding=1, bias=False), *norm(width, 3))
        self.low = nn.Sequential(nn.Conv2d(width * depth, width, 3, padding=1), *norm(width))
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.high = nn.Sequential(nn.Conv2d(width, 2 * width, 2, stride=2), *norm(2 * width))
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.head = nn.Conv2d(2 * width, classes, 1)

    def forward(self, volume):
        low = self.low(self.stem(volume).flatten(1, 2))  # channel c at depth d is c * depth + d
        low = low + self.depthwise(low)
        return self.head(torch.cat([low, self.up(self.high(low))], dim=1))


def norm(width, dims=2):
    layer = nn.BatchNorm3d(width) if dims == 3 else nn.BatchNorm2d(width)
    return layer, nn.ReLU()


GROUPED = {'low.0': dict(inner=2), 'head': dict(blocks=2)}


def scrambled(model, seed=0):
    """A model in eval mode whose every number is random, also those of its norms."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.1)
                if tensor.dim() > 1:
                    tensor.sub_(0.6).mul_(0.5)
    return model.eval()


def silence(layer, channels):
    """Make output channels of a norm or of a layer with a bias always zero."""
    with torch.no_grad():
        for tensor in layer.parameters():
            axis = 1 if isinstance(layer, nn.ConvTranspose2d) and tensor.dim() > 1 else 0
            tensor.index_fill_(axis, torch.tensor(channels), 0)


class Attends(nn.Module):
    """Attention between linear layers."""

    def __init__(self, width: int, heads: int, **options):
        super().__init__()
        self.embed = nn.Linear(5, width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True, **options)
        self.out = nn.Linear(width, 2)

    def forward(self, tokens):
        x = self.embed(tokens)
        kv = x[..., : self.attention.kdim]
        return self.out(self.attention(x, kv, kv)[0])


def test_an_equal_student_gives_the_teachers_outputs():
    teacher, student = scrambled(TwoScales(4)), scrambled(TwoScales(4), seed=1)
    report = inherit(student, teacher, GROUPED)
    volume = torch.randn(2, 2, 2, 6, 4)
    assert torch.equal(student(volume), teacher(volume))
    assert report.count('left') == report.count('sliced') == 0
    total = sum(p.numel() for p in student.parameters())
    assert report.parameters('whole') == total


def test_half_a_teacher_whose_other_half_is_silent_gives_its_outputs():
    teacher, student = scrambled(TwoScales(8)), scrambled(TwoScales(4), seed=1)
    silence(teacher.stem[1], [4, 5, 6, 7])
    silence(teacher.low[1], [4, 5, 6, 7])
    silence(teacher.depthwise, [4, 5, 6, 7])
    silence(teacher.high[1], list(range(8, 16)))
    silence(teacher.up, [4, 5, 6, 7])
    shapes = {key: value.shape for key, value in student.state_dict().items()}
    inherit(student, teacher, GROUPED)
    volume = torch.randn(2, 2, 2, 6, 4)
    torch.testing.assert_close(student(volume), teacher(volume))
    assert {key: value.shape for key, value in student.state_dict().items()} == shapes


def test_without_its_layout_a_concatenation_is_cut_wrongly():
    teacher, student = scrambled(TwoScales(8)), scrambled(TwoScales(4))
    inherit(student, teacher, {'low.0': dict(inner=2)})
    wrong = student.head.weight.clone()
    inherit(student, teacher, GROUPED)
    expected = torch.cat([teacher.head.weight[:, :4], teacher.head.weight[:, 8:12]], dim=1)
    assert torch.equal(student.head.weight, expected) and not torch.equal(wrong, expected)


@pytest.mark.parametrize('options', [{}, dict(kdim=6, vdim=6), dict(add_bias_kv=True)])
@pytest.mark.parametrize('heads', [4, 2])  # heads half as wide, and heads half as many
def test_half_an_attention_whose_other_half_is_silent_gives_its_outputs(options, heads):
    teacher = scrambled(Attends(16, 4, **options)).double()
    student = scrambled(Attends(8, heads, **options), seed=1).double()
    keep_dims = 2 if heads == 4 else 4  # of the four channels of a head
    silent = [c for c in range(16) if c % 4 >= keep_dims or c // 4 >= heads]
    silence(teacher.embed, list(range(8, 16)))
    attention = teacher.attention
    with torch.no_grad():
        if attention.in_proj_weight is None:
            weights = [attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight]
        else:
            weights = list(attention.in_proj_weight.chunk(3))
        for tensor in (*weights, *attention.in_proj_bias.chunk(3)):
            tensor[silent] = 0
        for tensor in (attention.bias_k, attention.bias_v):
            if tensor is not None:
                tensor[..., silent] = 0
        if heads == 2:
            attention.out_proj.weight[:, silent] = 0
        silence(attention.out_proj, list(range(8, 16)))
    inherit(student, teacher)
    tokens = torch.randn(2, 7, 5, dtype=torch.double)
    torch.testing.assert_close(student(tokens), teacher(tokens))


@pytest.mark.parametrize('norm', [nn.LayerNorm(8), nn.GroupNorm(2, 8)])
def test_other_norms_are_cut_too(norm):
    teacher = scrambled(nn.Sequential(norm))
    student = nn.Sequential(
        nn.LayerNorm(4) if isinstance(norm, nn.LayerNorm) else nn.GroupNorm(1, 4)
    )
    inherit(student, teacher)
    assert torch.equal(student[0].weight, teacher[0].weight[:4])


def test_what_the_teacher_cannot_give_is_left_and_reported():
    teacher = nn.ModuleDict(
        dict(
            same=nn.Linear(3, 3),
            kernel=nn.Conv2d(2, 4, 3),
            narrow=nn.Linear(2, 2),
            other=nn.BatchNorm1d(4),
            no_bias=nn.Linear(2, 2, bias=False),
            groups=nn.Conv2d(8, 8, 1, groups=2),
        )
    )
    student = nn.ModuleDict(
        dict(
            same=nn.Linear(3, 3),
            kernel=nn.Conv2d(2, 4, 5),
            narrow=nn.Linear(3, 2),
            other=nn.Linear(4, 4),
            no_bias=nn.Linear(2, 2),
            groups=nn.Conv2d(4, 4, 1, groups=2),
            mine=nn.Linear(2, 2, bias=False),
        )
    )
    before = copy.deepcopy(student.state_dict())
    report = inherit(student, teacher)
    left = report.left()
    assert set(left) == {
        'kernel.weight',
        'kernel.bias',
        'narrow.weight',
        'narrow.bias',
        'other.weight',
        'other.bias',
        'no_bias.bias',
        'groups.weight',
        'groups.bias',
        'mine.weight',
    }
    assert all(torch.equal(student.state_dict()[key], before[key]) for key in left)
    assert left['kernel.bias'] == 'weight is (4, 2, 5, 5), the teacher has (4, 2, 3, 3)'
    assert left['other.weight'] == 'the teacher has a BatchNorm1d of this name'
    assert left['mine.weight'] == "the teacher has no layer 'mine'"
    table = str(report)
    assert 'left             10' in table and 'left kernel.weight: weight is (4, 2' in table


def test_layers_of_other_names_are_joined_and_excluded_ones_stay():
    teacher = nn.ModuleDict(dict(trunk=nn.Sequential(nn.Linear(3, 4)), head=nn.Linear(4, 2)))
    student = nn.ModuleDict(dict(body=nn.Sequential(nn.Linear(3, 2)), head=nn.Linear(2, 2)))
    before = student['head'].weight.clone()
    report = inherit(student, teacher, names={'body': 'trunk'}, exclude=['head'])
    assert torch.equal(student['body'][0].weight, teacher['trunk'][0].weight[:2])
    assert torch.equal(student['head'].weight, before)
    assert report.left()['head.bias'] == 'excluded by the config'


def test_a_teacher_with_nothing_to_give_is_an_error():
    with pytest.raises(ValueError, match='Linear inherits nothing of the teacher Conv2d'):
        inherit(nn.Linear(2, 2), nn.Conv2d(2, 2, 1))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(grouped_inputs={'haed': dict(blocks=2)}), r"grouped_inputs has \['haed'\]"),
        (dict(names={'low': 'lower'}), r"names has \['lower'\], which the teacher has not"),
        (dict(exclude=['neck']), r"exclude has \['neck'\], which the student has not"),
        (dict(grouped_inputs={'head': dict(blocks=3)}), "layer 'head': 8 input channels are no 3"),
        (dict(grouped_inputs={'head': dict(student=(4, 4))}), 'needs those of `student` and of'),
    ],
)
def test_names_and_layouts_that_do_not_fit_are_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        inherit(TwoScales(4), TwoScales(8), **arguments)


def test_layouts_choose_the_channels_that_belong_together():
    blocks = ChannelLayout(student=(1, 3), teacher=(4, 6))
    assert blocks.index(4, 10).tolist() == [0, 4, 5, 6]
    depth = ChannelLayout(inner=3)
    assert depth.index(6, 12).tolist() == [c * 3 + d for c in range(2) for d in range(3)]
    both = ChannelLayout(blocks=2, inner=2)
    assert both.index(4, 8).tolist() == [0, 1, 4, 5]
    assert ChannelLayout(student=(3, 1), teacher=(2, 4)).index(4, 6) is None


class TestHook:
    """The hook in a runner; the teacher is twice as wide."""

    @pytest.fixture
    def train(self, distiller_config, tmp_path):
        def run(folder='run', epochs=1, hook=None, lr=0.0, **changes):
            hooks = [dict(type='DistillHook'), dict(type='TeacherInitHook', **(hook or {}))]
            optimizer = dict(optimizer=dict(type='SGD', lr=lr))
            settings = dict(custom_hooks=hooks, optim_wrapper=optimizer)
            config = runner_config(
                tmp_path / folder, distiller_config(), epochs, **{**settings, **changes}
            )
            runner = Runner.from_cfg(config)
            runner.train()
            return runner

        return run

    def test_training_starts_from_the_teachers_first_channels(self, train, teacher_file, tmp_path):
        runner = train()
        weights = torch.load(teacher_file)['state_dict']
        student = runner.model.student
        assert torch.equal(student.backbone.block.weight, weights['backbone.block.weight'][:8, :8])
        assert torch.equal(student.head.weight, weights['head.weight'][:, :8])
        log = next((tmp_path / 'run').glob('*/*.log')).read_text()
        assert 'the student starts from the teacher' in log and 'sliced            5' in log
        assert 'it starts much as from random weights' not in log

    def test_training_warns_where_little_is_inherited(self, train, tmp_path):
        train(hook=dict(exclude=['backbone.block']))
        log = next((tmp_path / 'run').glob('*/*.log')).read_text()
        assert '% of the student are weights of the teacher, for the reasons above' in log

    def test_an_average_of_weights_begins_with_the_inherited_ones(self, train, teacher_file):
        hooks = [dict(type=f'{name}Hook') for name in ('EMA', 'TeacherInit', 'Distill')]
        runner = train(custom_hooks=hooks)
        average = next(h for h in runner.hooks if type(h).__name__ == 'EMAHook').ema_model.module
        expected = torch.load(teacher_file)['state_dict']['backbone.stem.weight'][:8]
        torch.testing.assert_close(average.student.backbone.stem.weight, expected)

    def test_a_resumed_run_goes_on_with_its_own_weights(self, train):
        first = train(lr=0.1).model.student.state_dict()
        resumed = train(resume=True).model.student.state_dict()  # no epoch is left
        assert all(torch.equal(first[key], resumed[key]) for key in first)

    def test_resuming_where_nothing_was_saved_starts_from_the_teacher(self, train, teacher_file):
        student = train(resume=True).model.student
        expected = torch.load(teacher_file)['state_dict']['backbone.stem.weight'][:8]
        assert torch.equal(student.backbone.stem.weight, expected)

    def test_training_warns_that_it_overwrites_what_was_loaded_and_a_test_does_not(
        self, train, distiller_config, tmp_path
    ):
        train()
        loaded = dict(load_from=str(tmp_path / 'run' / 'epoch_1.pth'))
        train('again', **loaded)
        hooks = [dict(type='DistillHook'), dict(type='TeacherInitHook')]
        config = runner_config(tmp_path / 'test', distiller_config(), custom_hooks=hooks, **loaded)
        Runner.from_cfg(config).test()
        warned = [
            'TeacherInitHook overwrites what was loaded' in log.read_text()
            for name in ('again', 'test')
            for log in (tmp_path / name).glob('*/*.log')
        ]
        assert warned == [True, False]

    def test_a_student_with_a_checkpoint_of_its_own_is_not_overwritten(
        self, distiller_config, tmp_path
    ):
        (tmp_path / 'student.py').write_text("model = dict(type='TinyClassifier', width=8)")
        torch.save(dict(state_dict=TinyClassifier(8).state_dict()), tmp_path / 'own.pth')
        student = dict(config=str(tmp_path / 'student.py'), checkpoint=str(tmp_path / 'own.pth'))
        hooks = [dict(type='DistillHook'), dict(type='TeacherInitHook')]
        config = runner_config(
            tmp_path / 'run', distiller_config(student=student), custom_hooks=hooks
        )
        with pytest.raises(ValueError, match='own.pth.*which TeacherInitHook would overwrite'):
            Runner.from_cfg(config).train()

    def test_an_unknown_teacher_is_an_error(self, train):
        with pytest.raises(ValueError, match=r"asks for teacher 'big'; there is \['teacher'\]"):
            train(hook=dict(teacher='big'))

    def test_the_config_of_the_hook_reaches_the_layers(self, train):
        runner = train(hook=dict(exclude=['head']), randomness=dict(seed=5))
        alone = Runner.from_cfg(
            runner_config(runner.work_dir, dict(type='TinyClassifier'), randomness=dict(seed=5))
        )
        alone._init_model_weights()
        assert torch.equal(runner.model.student.head.weight, alone.model.head.weight)
