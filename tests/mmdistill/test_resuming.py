"""A run is resumed with what it began with, or refused by name, or carried over when asked for."""

import copy

import pytest
import torch
from mmengine.runner import Runner

from tests.mmdistill.tiny import runner_config

ALLOW = [dict(type='DistillHook', allow_other_links=True)]


@pytest.fixture
def model(distiller_config, crd_link):
    """A distiller with three links: CRD with projections and banks, FitNet, attention."""
    del crd_link['loss']['memory']['num_samples']
    config = distiller_config()
    layers = dict(student='backbone[1]', teacher='backbone[1]')
    connector = dict(type='ConvConnector', in_channels=8, out_channels=16)
    fitnet = dict(**layers, student_connector=connector, loss=dict(type='FitNetLoss'))
    config['links'] = dict(crd=crd_link, fitnet=fitnet, **config['links'])
    return config


@pytest.fixture
def run(model, tmp_path):
    """The folder of a run that ended after its first epoch, and its runner."""
    return train(tmp_path / 'run', model)


def train(work_dir, model, **settings):
    settings.setdefault('epochs', 1)
    runner = Runner.from_cfg(runner_config(work_dir, copy.deepcopy(model), **settings))
    runner.train()
    return runner


def resume(first, model, **settings):
    """Resume a run that has reached its end: everything is loaded, and nothing is trained."""
    return train(first.work_dir, model, resume=True, **settings)


def reordered(links):
    return dict(reversed(links.items()))


def renamed(links):
    return {('other' if name == 'fitnet' else name): link for name, link in links.items()}


def removed(links):
    return {name: link for name, link in links.items() if name != 'crd'}


def added(links):
    return dict(more=copy.deepcopy(links['fitnet']), **links)


def moved(links):
    links['attention'].update(student='backbone[0]', teacher='backbone[0]')
    return links


CHANGES = [reordered, renamed, removed, added, moved]


def momentum(runner):
    """The optimizer's momentum by the parameter's name."""
    state = runner.optim_wrapper.optimizer.state
    return {
        name: state[parameter]['momentum_buffer']
        for name, parameter in runner.model.named_parameters()
        if parameter in state
    }


@pytest.mark.parametrize('change', CHANGES)
def test_resuming_with_other_links_is_refused_with_both_lists(run, model, change):
    then = list(model['links'])
    model['links'] = change(copy.deepcopy(model['links']))
    with pytest.raises(ValueError, match='the links of this run are not those') as caught:
        resume(run, model)
    text = str(caught.value)
    lists = text.partition('then:')[2].partition('now:')
    for part, names in zip(lists[::2], (then, model['links']), strict=True):
        places = [part.index(f'    {name} (') for name in names]
        assert places == sorted(places)
    assert 'allow_other_links=True' in text
    if change is moved:
        assert 'AttentionTransferLoss: student backbone[0] <- teacher backbone[0]' in text


def test_a_link_with_weights_of_another_shape_is_refused(run, model):
    model['links']['fitnet']['student_connector']['kernel_size'] = 3
    with pytest.raises(ValueError, match=r'fitnet \(FitNetLoss: .*, with weights of other '):
        resume(run, model)


@pytest.mark.parametrize('change', CHANGES)
def test_what_has_the_same_name_is_carried_over_when_asked_for(run, model, change):
    model['links'] = change(copy.deepcopy(model['links']))
    resumed = resume(run, model, custom_hooks=ALLOW)
    assert resumed.epoch == 1
    before, after = run.model.state_dict(), resumed.model.state_dict()
    old, new = momentum(run), momentum(resumed)
    kept = [name for name in after if name in before]
    assert sum(name.startswith('student.') for name in kept) == 6
    assert all(torch.equal(before[name], after[name]) for name in kept)
    parameters = dict(resumed.model.named_parameters())
    assert new.keys() == parameters.keys() & old.keys()
    assert all(torch.equal(old[name], value) for name, value in new.items())
    log = _log(resumed)
    assert 'WARNING' in log and 'the links of this run are not those' in log


def test_a_link_that_starts_anew_starts_as_in_a_new_run_also_in_its_average(run, model, tmp_path):
    hooks = [dict(type='DistillHook'), dict(type='EMAHook')]
    first = train(tmp_path / 'ema', model, custom_hooks=hooks)
    model['links'] = added(model['links'])
    resumed = resume(first, model, custom_hooks=ALLOW + hooks[1:])
    averaged = next(hook for hook in resumed.hooks if type(hook).__name__ == 'EMAHook')
    own, average = resumed.model.state_dict(), averaged.ema_model.module.state_dict()
    name = next(key for key in own if key.startswith('links.more.') and key.endswith('weight'))
    assert torch.equal(own[name], average[name])
    stored = torch.load(tmp_path / 'ema' / 'epoch_1.pth')
    for key, value in stored['ema_state_dict'].items():  # the current weights: see EMAHook
        if key.startswith('module.'):
            assert torch.equal(own[key.removeprefix('module.')], value)


def test_a_carried_over_run_trains_on(run, model):
    model['links'] = added(removed(model['links']))
    resumed = resume(run, model, epochs=2, custom_hooks=ALLOW)
    assert resumed.epoch == 2
    assert momentum(resumed).keys() == dict(resumed.model.named_parameters()).keys()


def test_with_groups_of_parameters_nothing_is_carried_over(model, tmp_path):
    optimizer = dict(type='SGD', lr=0.1, momentum=0.9)
    wrapper = dict(optimizer=optimizer, paramwise_cfg=dict(bias_lr_mult=2.0))
    first = train(tmp_path / 'run', model, optim_wrapper=wrapper)
    assert resume(first, model, optim_wrapper=wrapper).epoch == 1
    model['links'] = added(model['links'])
    with pytest.raises(ValueError, match=r'paramwise_cfg\) nothing can be carried over'):
        resume(first, model, optim_wrapper=wrapper, custom_hooks=ALLOW)


def test_a_checkpoint_that_names_no_links_is_compared_by_their_weights(run, model):
    file = f'{run.work_dir}/epoch_1.pth'
    content = torch.load(file)
    del content['meta']['links'], content['meta']['optimizer_parameters']
    torch.save(content, file)
    assert resume(run, model).epoch == 1
    model['links'] = renamed(model['links'])
    with pytest.raises(ValueError, match='the links of this run are not those'):
        resume(run, model)
    with pytest.raises(ValueError, match=r'does not name the optimizer'):
        resume(run, model, custom_hooks=ALLOW)


# ------------------------------------------------------------------ other kinds of run
def test_a_student_file_is_not_resumed(run, model):
    file = f'{run.work_dir}/epoch_1_student.pth'
    for config, hooks in ((model, ['Distill']), (model['student'], ['FitCheckpoint'])):
        hooks = [dict(type=f'{name}Hook') for name in hooks]
        with pytest.raises(ValueError, match=r'epoch_1_student.pth holds weights alone'):
            resume(run, config, load_from=file, custom_hooks=hooks)


def test_a_plain_runs_checkpoint_is_not_resumed_unless_asked_for(model, tmp_path):
    plain = train(tmp_path / 'plain', model['student'], custom_hooks=[])
    with pytest.raises(ValueError, match=r'then: none\n  now:\n    crd \(CRDLoss: '):
        resume(plain, model)
    resumed = resume(plain, model, custom_hooks=ALLOW)
    own, student = plain.model.state_dict(), resumed.model.student.state_dict()
    assert all(torch.equal(own[name], value) for name, value in student.items())
    old = {f'student.{name}': value for name, value in momentum(plain).items()}
    new = momentum(resumed)
    assert old.keys() == new.keys() and len(new) == 6
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_a_distillation_run_is_not_resumed_by_a_plain_config(run, model):
    hooks = [dict(type='FitCheckpointHook')]
    with pytest.raises(ValueError, match=r"the distillation run 'run_\w+': resume it with the con"):
        resume(run, model['student'], custom_hooks=hooks)


def test_a_student_of_another_size_is_not_resumed(run, model):
    model['student']['width'] = 12
    model['links'] = {}
    with pytest.raises(ValueError, match=r'epoch_1.pth does not fit this TinyClassifier: 1 of 6'):
        resume(run, model)


def _log(runner):
    with open(f'{runner.log_dir}/{runner.timestamp}.log') as file:
        return file.read()
