"""tools/train.py and tools/test.py keep the stock interface and stop early with a cure."""

import json
import re

import pytest
import torch


def test_training_resumes_from_its_own_checkpoint(toy_project):
    first = toy_project.tool(
        'train.py', 'toy.py', '--work-dir', 'run', '--cfg-options', 'train_cfg.max_epochs=1'
    )
    assert first.returncode == 0, first.stdout
    second = toy_project.tool('train.py', 'toy.py', '--work-dir', 'run', '--resume')
    assert second.returncode == 0, second.stdout
    assert 'resumed epoch: 1, iter: 4' in second.stdout
    assert (toy_project.folder / 'run' / 'epoch_2.pth').exists()


def test_resume_takes_a_path(toy_project):
    toy_project.tool(
        'train.py', 'toy.py', '--work-dir', 'a', '--cfg-options', 'train_cfg.max_epochs=1'
    )
    result = toy_project.tool('train.py', 'toy.py', '--work-dir', 'b', '--resume', 'a/epoch_1.pth')
    assert result.returncode == 0, result.stdout
    assert 'resumed epoch: 1' in result.stdout


def test_evaluation_writes_its_metrics(toy_project):
    trained = toy_project.tool(
        'train.py', 'toy.py', '--work-dir', 'run', '--cfg-options', 'train_cfg.max_epochs=1'
    )
    assert trained.returncode == 0, trained.stdout
    result = toy_project.tool('test.py', 'toy.py', 'run/epoch_1.pth', '--work-dir', 'test')
    assert result.returncode == 0, result.stdout
    (metrics,) = (toy_project.folder / 'test').glob('*/*.json')
    assert json.loads(metrics.read_text())['Toy/mAP'] == 0.5


def test_cpu_processes_train_and_evaluate_together_by_gloo(toy_project, repository):
    trained = toy_project.run(
        repository / 'tools' / 'dist_train.sh',
        *('toy.py', '2', '--work-dir', 'run', '--cfg-options', 'train_cfg.max_epochs=1'),
    )
    assert trained.returncode == 0, trained.stdout
    assert re.search(r'Epoch\(train\) +\[1\]\[2/2\]', trained.stdout), trained.stdout
    result = toy_project.run(
        repository / 'tools' / 'dist_test.sh',
        *('toy.py', 'run/epoch_1.pth', '2', '--work-dir', 'test'),
    )
    assert result.returncode == 0, result.stdout
    assert 'Toy/mAP: 0.5' in result.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_mixed_precision_without_a_gpu_is_an_error(toy_project):
    result = toy_project.tool('train.py', 'toy.py', '--amp')
    assert result.returncode != 0
    assert '--amp needs a GPU' in result.stdout


@pytest.mark.gpu
def test_mixed_precision_trains(toy_project):
    result = toy_project.tool(
        'train.py', 'toy.py', '--amp', '--cfg-options', 'train_cfg.max_epochs=1'
    )
    assert result.returncode == 0, result.stdout
    assert (toy_project.folder / 'work_dirs' / 'toy' / 'epoch_1.pth').exists()


def test_missing_data_ends_training_before_anything_is_built(toy_project):
    result = toy_project.tool(
        'train.py',
        'toy.py',
        '--cfg-options',
        'train_dataloader.dataset.ann_file=nuscenes_infos_train.pkl',
        'train_dataloader.dataset.data_root=data/nuscenes/',
    )
    assert result.returncode != 0
    assert 'data/nuscenes/nuscenes_infos_train.pkl' in result.stdout
    assert 'python tools/train.py configs/distill/bevfusion_crd_mini.py' in result.stdout
    assert 'Traceback' not in result.stdout
    assert not (toy_project.folder / 'work_dirs').exists()


def test_missing_teacher_ends_training_with_the_command_that_trains_it(toy_project):
    result = toy_project.tool(
        'train.py',
        'toy.py',
        '--cfg-options',
        'model.teacher.config=configs/teacher.py',
        'model.teacher.checkpoint=runs/teacher/epoch_9.pth',
    )
    assert result.returncode != 0
    assert 'runs/teacher/epoch_9.pth' in result.stdout
    assert 'python tools/train.py configs/teacher.py --work-dir runs/teacher' in result.stdout


def test_missing_checkpoint_ends_evaluation(toy_project):
    result = toy_project.tool('test.py', 'toy.py', 'nowhere/epoch_1.pth')
    assert result.returncode != 0
    assert "'nowhere/epoch_1.pth' does not exist" in result.stdout


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['train.py', 'toy.py', '--auto-scale-lr'], 'base_batch_size'),
        (['test.py', 'toy.py', 'x.pth', '--tta'], 'tta_model'),
        (['test.py', 'toy.py', 'x.pth', '--show-dir', 'd'], 'default_hooks.visualization'),
        (['train.py', 'absent.py'], 'absent.py'),
    ],
)
def test_an_option_that_the_config_cannot_serve_is_an_error(toy_project, arguments, message):
    result = toy_project.tool(*arguments)
    assert result.returncode != 0
    assert message in result.stdout
    assert 'Traceback' not in result.stdout
