"""tools/train.py and tools/test.py keep the stock interface and stop early with a cure."""

import json
import os
import re
import shutil

import pytest
from tensorboard.backend.event_processing import event_accumulator

from mmdistill.utils.work_dir import only_run_in
from tests.tools.conftest import ToyProject

SHORT = ('--cfg-options', 'train_cfg.max_epochs=1')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A toy project with one epoch in ``run/``, behind a preflight."""
    project = ToyProject(tmp_path_factory.mktemp('trained'))
    result = project.tool('train.py', 'toy.py', '--work-dir', 'run', '--preflight', *SHORT)
    assert result.returncode == 0, result.stdout
    assert 'the run can start' in result.stdout
    project.output = result.stdout
    return project


def test_a_run_says_where_it_comes_from_and_logs_to_tensorboard_under_the_same_names(trained):
    folder = trained.folder / 'run'
    origin = json.loads((folder / 'origin.json').read_text())
    assert {'commit', 'machine', 'torch', 'command'} <= set(origin)
    assert 'train.py toy.py --work-dir run' in origin['command']
    (events,) = folder.glob('*/vis_data/events.*')
    found = event_accumulator.EventAccumulator(str(events)).Reload()
    (logged,) = folder.glob('*/vis_data/scalars.json')
    first = json.loads(logged.read_text().splitlines()[0])
    assert {'loss', 'lr', 'Toy/NDS'} <= set(found.Tags()['scalars'])
    assert found.Scalars('loss')[0].value == pytest.approx(first['loss'])


def test_a_report_of_the_run_is_one_file(trained):
    result = trained.tool('report.py', 'run', '--frames', '0', '--out', 'pages/report.html')
    assert result.returncode == 0, result.stdout
    page = (trained.folder / 'pages' / 'report.html').read_text()
    origin = json.loads((trained.folder / 'run' / 'origin.json').read_text())
    assert f'<td>{origin["commit"]}</td>' in page and '<td>0.500</td>' in page
    result = trained.tool('report.py', 'nowhere', '--out', 'report.html')
    assert 'nowhere does not exist' in result.stdout and 'Traceback' not in result.stdout


def test_warnings_of_mmengine_that_nobody_can_act_on_are_not_shown(trained):
    assert 'Saving checkpoint' in trained.output
    assert 'will be deprecated' not in trained.output


def test_a_second_training_in_a_work_dir_says_which_process_works_there(trained):
    with only_run_in(trained.folder / 'run'):
        result = trained.tool('train.py', 'toy.py', '--work-dir', 'run')
    assert result.returncode == 1
    assert f'run is being written by process {os.getpid()} on this machine' in result.stdout
    assert 'Traceback' not in result.stdout


def test_training_resumes_from_its_own_checkpoint(trained):
    shutil.copytree(trained.folder / 'run', trained.folder / 'resumed')
    result = trained.tool('train.py', 'toy.py', '--work-dir', 'resumed', '--resume')
    assert result.returncode == 0, result.stdout
    assert 'resumed epoch: 1, iter: 4' in result.stdout
    assert (trained.folder / 'resumed' / 'epoch_2.pth').exists()


def test_resume_takes_a_path(trained):
    result = trained.tool(
        'train.py', 'toy.py', '--work-dir', 'other', '--resume', 'run/epoch_1.pth'
    )
    assert result.returncode == 0, result.stdout
    assert 'resumed epoch: 1' in result.stdout


def test_evaluation_writes_its_metrics(trained):
    result = trained.tool('test.py', 'toy.py', 'run/epoch_1.pth', '--work-dir', 'test')
    assert result.returncode == 0, result.stdout
    (metrics,) = (trained.folder / 'test').glob('*/*.json')
    assert json.loads(metrics.read_text())['Toy/mAP'] == 0.5


def test_training_does_not_start_after_a_failed_preflight(toy_project):
    wrong = ('--cfg-options', 'optim_wrapper.optimizer.lr=-1.0')
    result = toy_project.tool('train.py', 'toy.py', '--preflight', *wrong)
    assert result.returncode != 0
    assert 'Invalid learning rate' in result.stdout
    assert not (toy_project.folder / 'work_dirs').exists()


def test_cpu_processes_train_and_evaluate_together_by_gloo(toy_project, repository):
    trained = toy_project.run(
        repository / 'tools' / 'dist_train.sh', 'toy.py', '2', '--work-dir', 'run', *SHORT
    )
    assert trained.returncode == 0, trained.stdout
    assert re.search(r'Epoch\(train\) +\[1\]\[2/2\]', trained.stdout), trained.stdout
    result = toy_project.run(
        repository / 'tools' / 'dist_test.sh',
        *('toy.py', 'run/epoch_1.pth', '2', '--work-dir', 'test'),
    )
    assert result.returncode == 0, result.stdout
    assert 'Toy/mAP: 0.5' in result.stdout


@pytest.mark.gpu
def test_mixed_precision_trains(toy_project):
    result = toy_project.tool('train.py', 'toy.py', '--amp', *SHORT)
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
    assert 'Traceback' not in result.stdout
