"""The demo's plan and its table."""

import json

import pytest
from mmengine.config import Config

from mmdistill.apis import moved_paths
from mmdistill.apis.demo import Demo, demo_options, last_checkpoint
from mmdistill.apis.demo_table import Row, write_table


def test_every_path_under_the_data_root_moves_and_no_other():
    cfg = {
        'data_root': 'data/sim/',
        'train': {'dataset': {'dataset': {'data_root': 'data/sim/'}}},
        'evaluators': [{'ann_file': 'data/sim/infos_val.pkl'}],
        'other': 'data/simulated/infos.pkl',
    }
    assert moved_paths(cfg, 'data/sim', 'data/tiny') == {
        'data_root': 'data/tiny/',
        'train.dataset.dataset.data_root': 'data/tiny/',
        'evaluators.0.ann_file': 'data/tiny/infos_val.pkl',
    }


@pytest.mark.parametrize('length', ['max_epochs', 'max_iters'])
def test_a_quick_run_is_shorter_and_on_its_own_data(length):
    cfg = Config({'data_root': 'data/lidarsim/', 'train_cfg': {length: 800}})
    full = demo_options(cfg, 'data/lidarsim', seed=3, quick=False)
    assert full == {'randomness.seed': 3}
    quick = demo_options(cfg, 'data/lidarsim_quick', seed=3, quick=True)
    assert quick['data_root'] == 'data/lidarsim_quick/'
    assert quick[f'train_cfg.{length}'] <= 20


def test_the_plan_trains_the_students_alike_and_the_distilled_one_after_its_teacher(
    repository, tmp_path, monkeypatch
):
    monkeypatch.chdir(repository)
    demo = Demo(
        teacher='configs/bevfusion/bevfusion_lidar_teacher_mini.py',
        student='configs/bevfusion/bevfusion_lidar_student_mini.py',
        distilled='configs/distill/bevfusion_best_mini.py',
        started='configs/distill/combinations/init.py',
        data_root='data/lidarsim',
        make_data=('tools/create_lidarsim.py', '--out', 'data/lidarsim'),
        manifest='lidarsim.json',
        folder=tmp_path,
        seed=1,
    )
    runs = demo.runs()
    stages = {stage.name: stage for stage in demo.stages(runs)}
    assert 'teacher' in stages['distilled'].needs and 'teacher' in stages['started'].needs
    teacher_checkpoint = last_checkpoint(runs[0], tmp_path)
    assert f'model.teacher.checkpoint={teacher_checkpoint}' in stages['distilled'].command
    seeds = [run.options['randomness.seed'] for run in runs]
    assert seeds == [1, 1, 1, 1]
    student, started, distilled = (
        Config.fromfile(run.config, import_custom_modules=False) for run in runs[1:]
    )
    for part in ('train_cfg', 'optim_wrapper', 'param_scheduler', 'train_dataloader'):
        assert student[part] == distilled[part] == started[part]


def test_with_weights_of_a_teacher_only_the_students_are_trained(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(repository)
    weights = tmp_path / 'shipped.pth'
    weights.write_bytes(b'one')
    demo = Demo(
        teacher='configs/bevfusion/bevfusion_lidar_teacher_mini.py',
        student='configs/bevfusion/bevfusion_lidar_student_mini.py',
        distilled='configs/distill/bevfusion_best_mini.py',
        started='configs/distill/combinations/init.py',
        data_root='data/lidarsim',
        make_data=('tools/create_lidarsim.py', '--out', 'data/lidarsim'),
        manifest='lidarsim.json',
        folder=tmp_path,
        weights=weights,
    )
    stages = {stage.name: stage for stage in demo.stages(demo.runs())}
    assert 'teacher' not in stages
    assert f'model.teacher.checkpoint={weights}' in stages['distilled'].command
    assert str(weights) in stages['teacher_test'].command
    assert all(set(stage.needs) <= set(stages) for stage in stages.values())
    weights.write_bytes(b'another')
    again = {stage.name: stage for stage in demo.stages(demo.runs())}
    assert again['distilled'].key != stages['distilled'].key


@pytest.fixture
def finished_demo(tmp_path):
    """A folder as the demo's stages leave it, and its rows."""
    costs = {'params': 2_000_000, 'dense_macs': 3e9, 'sparse_macs': 1e9, 'ms_per_frame': 40.0}
    (tmp_path / 'compare.json').write_text(json.dumps({'net.py': costs}))
    metrics = tmp_path / 'test' / '20250101_000000' / '20250101_000000.json'
    metrics.parent.mkdir(parents=True)
    prefix = 'NuScenes metric/pred_instances_3d_NuScenes'
    metrics.write_text(
        json.dumps({f'{prefix}/car_AP_dist_0.5': 0.1, f'{prefix}/mAP': 0.612, f'{prefix}/NDS': 0.5})
    )
    return tmp_path, [Row('Student', 'net.py', tmp_path / 'test', training_s=90.0)]


def test_the_table_holds_what_the_stages_measured(finished_demo):
    folder, rows = finished_demo
    table = write_table(rows, folder, seed=5, quick=False)
    assert '| Student | 2.000 M | 4.00 (3.00 + 1.00) | 40 | 0.612 | 0.500 | 1.5 min |' in table
    assert 'seed 5' in table
    content = json.loads((folder / 'table.json').read_text())
    assert {'commit', 'date', 'machine', 'torch', 'seed'} <= set(content)
    assert (folder / 'table.md').read_text() == table


def test_a_model_that_was_not_trained_here_has_no_time(finished_demo):
    folder, rows = finished_demo
    row = Row('Teacher', rows[0].network, rows[0].test_dir, training_s=None)
    assert '| 0.612 | 0.500 | shipped |' in write_table([row], folder, seed=0, quick=False)


def test_a_quick_table_says_that_its_accuracies_mean_nothing(finished_demo):
    folder, rows = finished_demo
    assert 'mean nothing' in write_table(rows, folder, seed=0, quick=True)
