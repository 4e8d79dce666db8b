"""Training through MMEngine's runner: checkpoints, resuming, exported students, schedules."""

import copy

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner

from mmdistill.contracts import LinkLoss, SampleMemory
from mmdistill.memory import ContrastMemory
from mmdistill.utils.files import written_whole
from tests.mmdistill.tiny import runner_config


@pytest.fixture
def model(distiller_config, crd_link):
    """A distiller whose CRD bank is sized by the data set, and an attention link."""
    del crd_link['loss']['memory']['num_samples']
    crd_link['loss']['memory']['form'] = 'exact'  # draws random numbers in every step
    config = distiller_config()
    config['links']['crd'] = crd_link
    return config


def train(work_dir, model, **settings):
    runner = Runner.from_cfg(runner_config(work_dir, copy.deepcopy(model), **settings))
    runner.train()
    return runner


def test_banks_are_sized_by_the_data_set_below_its_wrappers(model, tmp_path):
    config = runner_config(tmp_path, model)
    images = config['train_dataloader']['dataset']
    config['train_dataloader']['dataset'] = dict(type='RepeatDataset', dataset=images, times=3)
    runner = Runner.from_cfg(config)
    runner.train()
    assert runner.model.links['crd'].loss.memory.num_samples == 12


def test_concatenated_data_sets_are_numbered_through(model, tmp_path):
    """6 and 12 images; the first 6 of the second data set must not share the first one's rows."""
    config = runner_config(tmp_path, model, epochs=1)
    images = config['train_dataloader']['dataset']
    few = dict(images, length=6)
    many = dict(type='RepeatDataset', dataset=images, times=2)
    config['train_dataloader']['dataset'] = dict(type='ConcatDataset', datasets=[few, many])
    runner = Runner.from_cfg(config)
    runner.train()
    memory = runner.model.links['crd'].loss.memory
    assert memory.num_samples == 18
    data = runner.train_dataloader.dataset
    numbers = [data[i]['data_samples'].sample_idx for i in range(len(data))]
    assert numbers == [*range(6), *range(6, 18), *range(6, 18)]
    fresh = ContrastMemory(embed_dims=6, num_samples=18)
    assert (memory.teacher_bank != fresh.teacher_bank).any(1).all()


def test_two_and_two_epochs_equal_four_bit_for_bit(model, tmp_path):
    at_once = train(tmp_path / 'four', model, epochs=4)
    train(tmp_path / 'parts', model, epochs=2)
    resumed = train(tmp_path / 'parts', model, epochs=4, resume=True)
    expected, actual = at_once.model.state_dict(), resumed.model.state_dict()
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[key], actual[key]) for key in expected)


def test_a_loss_that_draws_and_learns_continues_bit_for_bit(model, tmp_path):
    """MGD draws what it hides at every step, and its generator is trained."""
    channels = dict(student_channels=8, teacher_channels=16)
    layers = dict(student='backbone[1]', teacher='backbone[1]')
    model['links'] = dict(mgd=dict(**layers, loss=dict(type='MGDLoss', **channels)))
    at_once = train(tmp_path / 'two', model, epochs=2)
    train(tmp_path / 'parts', model, epochs=1)
    resumed = train(tmp_path / 'parts', model, epochs=2, resume=True)
    expected, actual = at_once.model.state_dict(), resumed.model.state_dict()
    assert any('generation' in key for key in expected)
    assert all(torch.equal(expected[key], actual[key]) for key in expected)


def test_the_student_file_and_the_training_checkpoint_test_alike(model, tmp_path):
    runner = train(tmp_path, model)
    plain = copy.deepcopy(model['student'])
    metrics = [
        Runner.from_cfg(
            runner_config(tmp_path, config, load_from=str(tmp_path / name), custom_hooks=hooks)
        ).test()
        for config, name, hooks in (
            (model, 'epoch_2.pth', [dict(type='DistillHook')]),
            (plain, 'epoch_2_student.pth', []),
        )
    ]
    assert metrics[0] == metrics[1] != {}
    stored = torch.load(tmp_path / 'epoch_2_student.pth')['state_dict']
    own = runner.model.student.state_dict()
    assert stored.keys() == own.keys()
    assert all(torch.equal(stored[key], own[key]) for key in own)


def test_testing_needs_no_teacher_file(model, teacher_file, tmp_path):
    train(tmp_path, model)
    teacher_file.unlink()
    settings = dict(load_from=str(tmp_path / 'epoch_2.pth'))
    assert Runner.from_cfg(runner_config(tmp_path, model, **settings)).test()


def test_the_exported_student_has_the_averaged_weights_when_ema_is_on(model, tmp_path):
    hooks = [
        dict(type='DistillHook'),
        dict(type='StudentCheckpointHook'),
        dict(type='EMAHook', momentum=0.5),
    ]
    runner = train(tmp_path, model, custom_hooks=hooks)
    stored = torch.load(tmp_path / 'epoch_2_student.pth')['state_dict']
    averaged = next(h for h in runner.hooks if type(h).__name__ == 'EMAHook').ema_model.module
    key = 'backbone.block.weight'
    assert torch.equal(stored[key], averaged.student.state_dict()[key])
    assert not torch.equal(stored[key], runner.model.student.state_dict()[key])


def test_students_of_the_best_and_the_kept_checkpoints_lie_beside_them(model, tmp_path):
    settings = dict(interval=1, max_keep_ckpts=1, save_best='confidence', rule='greater')
    hooks = dict(checkpoint=dict(type='CheckpointHook', **settings))
    train(tmp_path, model, epochs=4, default_hooks=hooks)
    files = {path.name for path in tmp_path.glob('*.pth')} - {'teacher.pth'}
    plain = {name for name in files if not name.endswith('_student.pth')}
    assert files == plain | {name.replace('.pth', '_student.pth') for name in plain}
    best = next(name for name in plain if name.startswith('best'))
    full = torch.load(tmp_path / best)['state_dict']
    student = torch.load(tmp_path / best.replace('.pth', '_student.pth'))['state_dict']
    assert all(torch.equal(full['student.' + key], value) for key, value in student.items())


@pytest.mark.parametrize('kept', [1, 2])
def test_students_of_removed_checkpoints_are_removed_also_after_a_resume(model, tmp_path, kept):
    settings = dict(interval=1, max_keep_ckpts=kept, save_best='confidence', rule='greater')
    hooks = dict(checkpoint=dict(type='CheckpointHook', **settings))
    train(tmp_path, model, epochs=2, default_hooks=hooks)
    best = next(tmp_path.glob('best*_student.pth'))
    before = best.read_bytes()
    train(tmp_path, model, epochs=4, default_hooks=hooks, resume=True)
    names = {path.name for path in tmp_path.glob('*.pth')} - {'teacher.pth'}
    plain = {name for name in names if not name.endswith('_student.pth')}
    assert names == plain | {name.replace('.pth', '_student.pth') for name in plain}
    if best.exists():  # no later epoch was better: the best student is as it was
        assert best.read_bytes() == before


def test_a_resumed_run_that_keeps_fewer_checkpoints_keeps_no_more_students(model, tmp_path):
    def hooks(kept):
        return dict(checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=kept))

    train(tmp_path, model, epochs=3, default_hooks=hooks(3))
    (tmp_path / 'mine_student.pth').write_bytes(b'not of this run')
    train(tmp_path, model, epochs=3, default_hooks=hooks(1), resume=True)
    names = {path.name for path in tmp_path.glob('*.pth')} - {'teacher.pth'}
    assert names == {'epoch_3.pth', 'epoch_3_student.pth', 'mine_student.pth'}


@HOOKS.register_module(force=True)
class SaveEachIteration(Hook):
    """Saves by the runner, past CheckpointHook."""

    def after_train_iter(self, runner, *args, **kwargs):
        runner.save_checkpoint(runner.work_dir, 'now.pth', by_epoch=False)


def test_what_others_save_changes_no_student(model, tmp_path):
    names = ['DistillHook', 'StudentCheckpointHook', 'SaveEachIteration']
    train(tmp_path, model, epochs=2, custom_hooks=[dict(type=name) for name in names])
    assert not (tmp_path / 'now_student.pth').exists()
    for epoch in (1, 2):
        full = torch.load(tmp_path / f'epoch_{epoch}.pth')['state_dict']
        student = torch.load(tmp_path / f'epoch_{epoch}_student.pth')['state_dict']
        assert all(torch.equal(full['student.' + key], value) for key, value in student.items())


def test_a_data_set_of_another_length_cannot_resume(model, tmp_path):
    train(tmp_path, model, epochs=1)
    config = runner_config(tmp_path, copy.deepcopy(model), resume=True)
    config['train_dataloader']['dataset']['length'] = 16
    with pytest.raises(ValueError, match=r'student_bank, this run \(16, '):
        Runner.from_cfg(config).train()


def test_schedules_in_epochs_are_refused_by_a_loop_that_counts_iterations(model, tmp_path):
    model['links']['crd']['schedule'] = dict(kind='constant', begin=1)
    config = runner_config(tmp_path, model, train_cfg=dict(by_epoch=False, max_iters=3))
    model['student_weight'] = dict(schedule=dict(kind='linear', end=2))
    with pytest.raises(ValueError, match=r"\['crd', 'student_weight'\] have schedules in epochs"):
        Runner.from_cfg(config).train()


def test_skipped_samples_are_reported_in_the_log(model, tmp_path):
    runner = Runner.from_cfg(runner_config(tmp_path, model))
    runner.model.links['crd'].loss.memory.num_skipped += 3
    runner.train()
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'WARNING' in log and 'link crd: 3 samples so far' in log


def test_a_failed_save_leaves_no_half_student_file(model, tmp_path):
    target = tmp_path / 'x_student.pth'
    target.write_bytes(b'old')
    with pytest.raises(AttributeError), written_whole(target) as partial:
        torch.save(dict(big=torch.ones(10), bad=lambda: 0), partial)  # no pickle of a function
    assert target.read_bytes() == b'old'
    assert [path.name for path in tmp_path.iterdir() if 'x_student' in path.name] == [target.name]


def test_resuming_with_another_teacher_is_refused_unless_allowed(model, teacher_file, tmp_path):
    train(tmp_path / 'run', model, epochs=1)
    content = torch.load(teacher_file)
    content['state_dict']['head.bias'] += 1
    torch.save(content, teacher_file)
    with pytest.raises(ValueError, match=r"other weights or another config of \['teacher'\]"):
        train(tmp_path / 'run', model, epochs=2, resume=True)
    hooks = [dict(type='DistillHook', allow_other_teacher=True)]
    train(tmp_path / 'run', model, epochs=2, resume=True, custom_hooks=hooks)


def test_a_missing_teacher_file_ends_the_run_at_its_start(model, teacher_file, tmp_path):
    teacher_file.unlink()
    with pytest.raises(FileNotFoundError, match=r'no checkpoint at .*teacher.pth; train it'):
        train(tmp_path, model)


def test_schedules_follow_epochs_and_iterations_of_the_runner(model, tmp_path):
    model['links']['attention']['schedule'] = dict(kind='constant', end=1)
    model['links']['crd']['schedule'] = dict(kind='linear', begin=0, end=4, by_epoch=False)
    runner = train(tmp_path, model)
    scalars = runner.message_hub.log_scalars
    attention = scalars['train/distill/attention'].data[0]
    crd = scalars['train/distill/crd'].data[0]
    assert (attention[:3] > 0).all() and (attention[3:] == 0).all()
    assert crd[0] == 0 and (crd[1:] > 0).all()


def test_hooks_refuse_a_plain_model(model, tmp_path):
    with pytest.raises(TypeError, match='DistillHook belongs to a Distiller.*TinyClassifier'):
        train(tmp_path, model['student'])


def test_gradient_accumulation_updates_the_bank_and_the_schedule_each_iteration(model, tmp_path):
    model['links']['crd']['schedule'] = dict(kind='linear', begin=0, end=3, by_epoch=False)
    wrapper = dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=3)
    runner = train(tmp_path, model, epochs=1, optim_wrapper=wrapper)
    weights = [runner.model.links['crd'].weight_at(0, iteration) for iteration in range(3)]
    assert weights == pytest.approx([0, 1 / 3, 2 / 3])
    memory = runner.model.links['crd'].loss.memory
    fresh = type(memory)(embed_dims=6, num_samples=12)
    moved = (memory.student_bank != fresh.student_bank).any(1)
    # Twelve samples in three iterations; the first iteration's link rests at weight 0.
    assert moved.sum() == 8


@MODELS.register_module(force=True)
class SpreadLoss(LinkLoss):
    """A loss whose memory lies on several ranks."""

    class Memory(SampleMemory):
        counts_samples = False
        is_spread = True

    def __init__(self):
        super().__init__()
        self.memory = self.Memory()

    def forward(self, student, teacher):
        return student.mean()


def test_spread_banks_under_ema_are_refused_before_the_run(distiller_config, tmp_path):
    config = distiller_config()
    config['links']['attention']['loss'] = dict(type='SpreadLoss')
    hooks = [dict(type='DistillHook'), dict(type='EMAHook')]
    with pytest.raises(ValueError, match='shard=True.*EMAHook'):
        train(tmp_path, config, custom_hooks=hooks)
