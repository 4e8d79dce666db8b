"""The mini chain through the common tools: train, test, list layers, preflight, compare."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner

from mmdistill.analysis.classifiers import as_markdown, evaluate_weights, read_runs
from mmdistill.analysis.comparison import measure
from mmdistill.analysis.frames import load_frames, load_model
from mmdistill.analysis.layers import list_layers
from mmdistill.apis.preflight import Verdict, preflight
from mmdistill.report import build_page, render
from mmdistill.report import read_runs as read_report_runs
from videocls.contact_sheet import draw_contact_sheet, predict

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'video'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('video_runs')


@pytest.fixture(scope='module')
def read(ucf101, folder):
    """Reads a mini config, on the tiny data set, for one epoch."""

    def read_config(name):
        cfg = Config.fromfile(CONFIGS / f'{name}.py')
        for loader in ('train', 'val', 'test'):
            cfg[f'{loader}_dataloader'].dataset.data_root = str(ucf101)
        cfg.train_cfg.update(max_epochs=1, val_interval=1)
        cfg.work_dir = str(folder / name)
        cfg.experiment_name = f'{folder.name}_{name}'
        cfg.load_from = None
        if cfg.model.type == 'Distiller':
            cfg.model.teacher.config = str(CONFIGS / 'clip_teacher_mini.py')
            cfg.model.teacher.checkpoint = str(folder / 'clip_teacher_mini' / 'best')
        return cfg

    return read_config


@pytest.fixture(scope='module')
def runs(read, folder):
    """A teacher and a student under it, each trained for a step and tested at the end."""
    for name in ('clip_teacher_mini', 'clip_cnn_mini'):
        Runner.from_cfg(read(name)).train()
    return {'Teacher': folder / 'clip_teacher_mini', 'Student': folder / 'clip_cnn_mini'}


def test_the_student_of_the_chain_is_the_plain_configs(runs, read):
    results = json.loads((runs['Student'] / 'results.json').read_text())
    assert set(results['test']) >= {'top1', 'top5', 'f1', 'top1_order', 'confusion'}
    assert np.array(results['test']['confusion']).sum() == 12
    plain = read('cnn_student_mini')
    plain.update(load_from=str(runs['Student'] / 'student_best.pth'), custom_hooks=[])
    plain.work_dir += '_test'
    tested = Runner.from_cfg(plain).test()
    assert tested == {key: results['test'][key] for key in tested}
    assert results['history'][0]['train/distill/response'] > 0


def test_the_frozen_encoder_of_the_teacher_is_not_trained(runs, read):
    torch.manual_seed(0)
    trained = torch.load(runs['Teacher'] / 'model_final.pth')['state_dict']
    seen = [key for key in trained if key.endswith('running_mean')]
    assert seen and all(not trained[key].any() for key in seen)
    results = json.loads((runs['Teacher'] / 'results.json').read_text())
    assert results['parameters']['trained'] < results['parameters']['total']


def test_layers_are_listed_with_the_shapes_that_links_see(read):
    cfg = read('cnn_student_mini')
    model = MODELS.build(cfg.model)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    layers = {
        layer.address: layer.shape
        for layer in list_layers(model, pseudo_collate([dataset[0], dataset[1]]))
    }
    assert layers['neck'] == (2, 128) and layers['head.fc'] == (2, 12)
    assert layers['neck.attention'] == (2, 8) and layers['neck.project'] == (2, 8, 128)


@pytest.mark.parametrize('has_data', [True, False])
def test_preflight_finds_nothing_to_mend(runs, read, has_data):
    """Also without the data, on the batch that the model makes up."""
    cfg = read('clip_cnn_mini')
    if not has_data:
        for loader in ('train', 'val', 'test'):
            cfg[f'{loader}_dataloader'].dataset.data_root = 'nowhere/videosim/'
    found = list(preflight(cfg))
    failed = [(name, f.text) for name, f in found if f.verdict is Verdict.FAILED]
    if has_data:
        assert not failed
    else:
        assert {name for name, _ in failed} == {'data'}
        assert 'create_videosim.py' in str([f for name, f in found if name == 'data'])
    steps = [f.text for name, f in found if name == 'step']
    assert any('link feature' in text for text in steps)


def test_full_size_passes_preflight_with_random_weights():
    cfg = Config.fromfile(CONFIGS / 'clip_mobilevit_xxs_ucf101.py')
    cfg.model.teacher.update(
        config=str(CONFIGS / 'clip_vit_b32_ucf101.py'), checkpoint=None, allow_random_weights=True
    )
    cfg.model.student.backbone.pretrained = None
    cfg.train_dataloader.batch_size = 1
    found = list(preflight(cfg))
    failed = {name for name, finding in found if finding.verdict is Verdict.FAILED}
    assert failed == {'data'}
    steps = [finding.text for name, finding in found if name == 'step']
    assert any('gradients finite' in text for text in steps)
    assert any('link response' in text for text in steps)


def test_models_are_compared_and_tabulated(runs, read):
    plain = {'Teacher': 'clip_teacher_mini', 'Student': 'cnn_student_mini'}
    files = {'Teacher': 'model_best.pth', 'Student': 'student_best.pth'}
    models = [load_model(read(plain[k]), str(runs[k] / files[k]), 'cpu') for k in plain]
    costs = measure(models, load_frames(read('cnn_student_mini'), 2), repeats=1)
    assert costs[1]['params'] < 0.25 * costs[0]['params']
    assert 0 < costs[1]['dense_macs'] < costs[0]['dense_macs']
    table = as_markdown(read_runs(runs), costs, dict(top1='top-1'))
    lines = table.splitlines()
    assert lines[0].startswith('|  | Params | GMACs | ms / clip | top-1 |')
    assert lines[2].startswith('| Teacher | 0.4') and lines[3].startswith('| Student | 0.0')
    with pytest.raises(FileNotFoundError, match=r'no results of Nobody: .*nowhere'):
        read_runs({'Nobody': 'nowhere'})


def test_weights_that_ship_are_a_row_without_a_run(runs, read, tmp_path):
    weights = tmp_path / 'teacher.pth'
    weights.write_bytes((runs['Teacher'] / 'model_best.pth').read_bytes())
    weights.with_suffix('.json').write_text(json.dumps(dict(seed=7)))
    evaluate_weights(read('clip_teacher_mini'), weights, tmp_path / 'shipped')
    shipped = read_runs(dict(Teacher=tmp_path / 'shipped'))['Teacher']
    assert shipped['test'] == read_runs(runs)['Teacher']['test']
    assert shipped['software']['seed'] == 7


def test_a_report_shows_confusions_in_place_of_boxes(runs):
    found = read_report_runs([str(folder) for folder in runs.values()])
    assert [run.role for run in found] == ['teacher', 'distilled']
    page = build_page(found, frames=2, device='cpu')
    sections = {section.key: section for section in page.sections}
    table, *plots = sections['results'].blocks
    assert list(table.head)[1:3] == ['top1', 'top5'] and 'ms / sample' in table.head
    assert [plot.label for plot in plots] == [
        'Confusion matrix of Teacher',
        'Confusion matrix of Student, distilled',
    ]
    assert 'sit_down' in plots[0].svg
    assert [row.name for row in sections['links'].blocks[0].rows] == ['feature', 'response']
    assert 'no link joins maps' in ' '.join(sections['features'].notes)
    assert 'linear CKA' in sections['features'].blocks[0].svg
    assert 'pictures' not in sections
    assert render(page).count('<svg') == 4  # two confusions, curves, similarities


def test_a_contact_sheet_shows_clips_with_the_weights_of_their_frames(read, tmp_path):
    cfg = read('cnn_student_mini')
    model = MODELS.build(cfg.model)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    batch = pseudo_collate([dataset[0], dataset[11]])
    scores, weights = predict(model, batch)
    assert scores.shape == (2, 12) and weights.shape == (2, 8)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    draw_contact_sheet(model, batch, dataset.metainfo['classes'], tmp_path / 'sheet.png')
    assert (tmp_path / 'sheet.png').stat().st_size > 5000
    teacher = MODELS.build(read('clip_teacher_mini').model)
    assert torch.equal(predict(teacher, batch)[1], torch.full((2, 8), 1 / 8))
