"""The small chain end to end: a teacher, the student alone, five recipes, two stages."""

import copy
import csv
import json
import math

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner
from torch.nn import functional as F

from mmdistill import FeatureRecorder
from mmdistill.apis.experiments import plan, run
from tests.medvl.recipes import RECIPES, write_configs


@pytest.fixture(scope='module')
def configs(tiny_root, tmp_path_factory):
    return write_configs(tiny_root, tmp_path_factory.mktemp('configs'))


@pytest.fixture(scope='module')
def trained(configs, tmp_path_factory):
    """Work dir and experiments of one command for both stages."""
    work_dir = tmp_path_factory.mktemp('runs')
    names = [str(configs[name]) for name in ('student', *RECIPES)]
    experiments = plan(names, [0], work_dir)
    run(experiments, report=lambda text: None)
    return work_dir, {experiment.folder.parent.name: experiment for experiment in experiments}


def results(trained, name):
    return json.loads((trained[1][f'medsim_{name}'].folder / 'results.json').read_text())


def test_one_command_trains_the_teacher_and_then_its_students(trained):
    names = [name.removeprefix('medsim_') for name in trained[1]]
    assert sorted(names) == sorted(['teacher', 'student', *RECIPES])
    assert names.index('teacher') < min(names.index(recipe) for recipe in RECIPES)
    teacher = trained[1]['medsim_teacher'].folder
    best = next(teacher.glob('best_mean_f1_*.pth'))
    for recipe in RECIPES:
        assert results(trained, recipe)['config']['model']['teacher']['checkpoint'] == str(best)


@pytest.mark.parametrize('recipe', RECIPES)
def test_every_recipe_keeps_the_students_own_cross_entropy(trained, recipe):
    content = results(trained, recipe)
    row = content['history'][-1]
    own = [row['train/loss_modality'], row['train/loss_location']]
    links = [value for key, value in row.items() if key.startswith('train/distill/')]
    assert len(links) == len(content['config']['model']['links']) >= 2
    assert all(value > 0 for value in own)
    assert math.isclose(sum(own + links), row['train/loss'], rel_tol=1e-4)
    assert all(math.isfinite(value) and value != 0 for value in links)


@pytest.mark.parametrize('recipe', ['teacher', 'student', *RECIPES])
def test_a_run_leaves_its_files(trained, recipe):
    folder, content = trained[1][f'medsim_{recipe}'].folder, results(trained, recipe)
    kind = 'student' if recipe in RECIPES else 'model'
    for name in (f'{kind}_best.pth', f'{kind}_final.pth', 'metrics.csv', 'metrics.json'):
        assert (folder / name).is_file()
    assert {'config', 'history', 'best', 'test', 'parameters'} <= set(content)
    test = content['test']
    assert test['mean_f1'] == pytest.approx((test['modality_f1'] + test['location_f1']) / 2)
    assert len(test['location_confusion']) == 5
    with (folder / 'metrics.csv').open() as file:
        assert [row['epoch'] for row in csv.DictReader(file)] == ['1']


def test_the_best_student_tests_alike_under_its_plain_config(trained, configs, tmp_path):
    cfg = Config.fromfile(configs['student'])
    cfg.load_from = str(trained[1]['medsim_vanilla'].folder / 'student_best.pth')
    cfg.work_dir, cfg.experiment_name = str(tmp_path), 'plain'
    metrics = Runner.from_cfg(cfg).test()
    expected = results(trained, 'vanilla')['test']
    assert {key: metrics[key] for key in expected} == expected


def test_teacher_and_student_have_tokenizers_of_their_own(trained):
    model = results(trained, 'vanilla')['config']['model']
    teacher = results(trained, 'teacher')['config']['model']
    names = [one['data_preprocessor']['tokenizer'] for one in (model['student'], teacher)]
    assert [name.rsplit('/', 1)[1] for name in names] == ['pieces', 'words']


# ------------------------------------------------------------------ one step, looked at closely
@pytest.fixture
def step(trained, configs):
    """A distiller of a recipe, its config, and a raw batch."""

    def make(recipe):
        cfg = trained[1][f'medsim_{recipe}'].read_config()
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        if model.keeps_memory():
            model.prepare(len(dataset))
        return model, cfg, pseudo_collate([dataset[index] for index in range(8)])

    return make


@pytest.mark.parametrize('recipe', RECIPES)
def test_projections_are_in_the_optimizer_and_move(step, recipe):
    model, cfg, batch = step(recipe)
    optimizer = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    held = {id(p) for group in optimizer.param_groups for p in group['params']}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert {id(p) for p in model.parameters()} == held
    model.train()
    model.train_step(batch, optimizer)
    projections = [name for name in before if name.startswith('links.')]
    assert bool(projections) == (recipe in ('combined', 'crd', 'mmd'))
    still = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    # Position embeddings behind the longest text, and words that do not occur, may rest.
    assert not [
        name
        for name in still
        if 'embeddings' not in name and 'k_lin.bias' not in name and 'k_proj.bias' not in name
    ]


def test_combined_is_the_documents_sum(step):
    """alpha KL + beta MSE + gamma InfoNCE, alpha = 1, beta = 100, gamma = 10, T = 4."""
    model, _, batch = step('combined')
    model.eval()  # no dropout, so that both passes agree
    data = model.data_preprocessor(batch, True)
    losses = model(**data, mode='loss')
    layers = ['heads.modality', 'heads.location', 'img_proj', 'txt_proj']
    seen = []
    for network, inputs in (
        (model.student, data['inputs']),
        (model.teachers['teacher'].model, data['teacher_data']['teacher']['inputs']),
    ):
        recorder = FeatureRecorder(network, layers, role='model')
        with torch.no_grad(), recorder.record() as recording:
            with recording.listen():
                network(inputs)
            seen.append([recording[layer].double() for layer in layers])
    student, teacher = (dict(zip(layers, side, strict=True)) for side in seen)
    for task in ('modality', 'location'):
        s, t = (side[f'heads.{task}'] / 4 for side in (student, teacher))
        kl = F.kl_div(s.log_softmax(1), t.softmax(1), reduction='batchmean')
        # A small difference of logarithms near 1, in single precision.
        assert float(losses[f'distill/{task}_kd']) == pytest.approx(16 * float(kl), abs=1e-5)
    for side in ('image', 'text'):
        s, t = (
            features[f'{side[0]}{"mg" if side == "image" else "xt"}_proj']
            for features in (student, teacher)
        )
        connector = model.links[f'{side}_feature'].student_connector.double()
        expected = 100 * (connector(s) - t).square().mean().detach()
        assert float(losses[f'distill/{side}_feature']) == pytest.approx(float(expected), rel=1e-4)
        loss = model.links[f'{side}_contrast'].loss.double()
        s, t = loss.student_projector(s), loss.teacher_projector(t)
        scores, own = s @ t.T / 0.1, torch.arange(len(s))
        infonce = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)).detach() / 2
        actual = float(losses[f'distill/{side}_contrast'])
        assert actual == pytest.approx(10 * float(infonce), rel=1e-4)


def test_crds_bank_is_keyed_by_sample(step):
    model, _, batch = step('crd')
    memory = model.links['image'].loss.memory
    before = memory.student_bank.clone()
    model.train()
    data = model.data_preprocessor(batch, True)
    model(**data, mode='loss')
    moved = (memory.student_bank != before).any(1).nonzero().flatten().tolist()
    assert moved == sorted(sample.sample_idx for sample in batch['data_samples'])
    assert len(before) == 64


def test_mmd_sees_five_bandwidths(step):
    model, _, _ = step('mmd')
    bandwidths = [kernel.bandwidth for kernel in model.links['image'].loss.kernels]
    assert bandwidths == [0.2, 0.5, 1.0, 2.0, 5.0]


# ------------------------------------------------------------------ resuming
def test_stage_two_resumes_bit_for_bit(trained, tmp_path):
    """With memory banks, dropout, random shifts, and a learning rate that moves by iteration."""

    def train(folder, epochs, resume=False):
        cfg = trained[1]['medsim_crd'].read_config()
        cfg.work_dir, cfg.resume = str(tmp_path / folder), resume
        cfg.experiment_name = f'{folder}_{epochs}'
        cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval = epochs, 1
        runner = Runner.from_cfg(cfg)
        runner.train()
        content = json.loads((tmp_path / folder / 'results.json').read_text())
        return runner.model.state_dict(), content

    expected, at_once = train('two', 2)
    train('parts', 1)
    actual, in_parts = train('parts', 2, resume=True)
    assert any('student_bank' in key for key in expected)
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[key], actual[key]) for key in expected)
    assert at_once['test'] == in_parts['test']
    assert [row['iter'] for row in in_parts['history']] == [2, 4]
