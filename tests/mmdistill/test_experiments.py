"""Plans and tables of experiments, on results written by hand and on a run of the tiny models."""

import json

import pytest
from mmengine.config import Config

from mmdistill.analysis.confusion import draw_confusions, draw_run
from mmdistill.analysis.experiments import as_markdown, differences, draw, pivot, read_groups
from mmdistill.apis.experiments import plan, read_vary, run
from tests.mmdistill.tiny import runner_config

PNG = b'\x89PNG'


@pytest.fixture
def configs(tmp_path):
    """A plain config and a distiller's, as files."""

    def write(name, model):
        path = tmp_path / f'{name}.py'
        Config(dict(model=model, train_cfg=dict(max_epochs=1))).dump(path)
        return str(path)

    plain = dict(type='Plain', fusion=dict(type='Sum'))
    teacher = write('big', plain)
    links = dict(a=dict(loss=dict(type='KDLoss')), b=dict(loss=dict(type='RKDLoss')), c=None)
    distiller = dict(
        type='Distiller', student=plain, links=links, teacher=dict(config=teacher, checkpoint='x')
    )
    return dict(teacher=teacher, alone=write('alone', plain), taught=write('taught', distiller))


# ------------------------------------------------------------------ the plan
def test_teachers_come_once_and_before_their_students(configs, tmp_path):
    runs = plan([configs['alone'], configs['taught']], [3, 4], tmp_path / 'runs')
    names = [experiment.folder.relative_to(tmp_path / 'runs').as_posix() for experiment in runs]
    assert names == [
        *('alone/seed_3', 'big/seed_3', 'taught/seed_3'),
        *('alone/seed_4', 'big/seed_4', 'taught/seed_4'),
    ]
    assert [e.teacher.folder.name for e in runs if e.teacher] == ['seed_3', 'seed_4']


def test_a_given_teacher_is_not_trained(configs, tmp_path):
    options = {'model.teacher.checkpoint': 'there.pth'}
    (only,) = plan([configs['taught']], [0], tmp_path, options)
    assert only.teacher is None
    assert only.read_config().model.teacher.checkpoint == 'there.pth'


def test_a_varied_entry_is_the_students_in_a_distiller(configs, tmp_path):
    vary = {'model.fusion.type': ['Sum', 'Gate']}
    options = {'model.teacher.checkpoint': 'there.pth'}
    runs = plan([configs['taught']], [0], tmp_path, options, vary)
    assert [r.folder.parent.name for r in runs] == ['fusion.type=Sum', 'fusion.type=Gate']
    assert [r.read_config().model.student.fusion.type for r in runs] == ['Sum', 'Gate']
    plain = plan([configs['alone']], [0], tmp_path, {}, vary)
    assert [r.read_config().model.fusion.type for r in plain] == ['Sum', 'Gate']


def test_values_of_the_command_line_are_read_as_in_cfg_options():
    words = [['model.fusion.type', 'Sum', 'Gate'], ['model.width', '8', '1.5', 'None']]
    assert read_vary(words) == {'model.fusion.type': ['Sum', 'Gate'], 'model.width': [8, 1.5, None]}
    with pytest.raises(ValueError, match='model.width has no values'):
        read_vary([['model.width']])


def test_a_config_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        plan([str(tmp_path / 'nowhere.py')], [0], tmp_path)
    with pytest.raises(ValueError, match='no config'):
        plan([], [0], tmp_path)


# ------------------------------------------------------------------ the run
@pytest.fixture
def tiny(tmp_path):
    """A plain config of the tiny model that keeps its best and writes its results."""
    config = runner_config(tmp_path, dict(type='TinyClassifier'), epochs=1)
    for key in ('work_dir', 'randomness', 'experiment_name'):
        del config[key]
    config['default_hooks'] = dict(
        checkpoint=dict(type='CheckpointHook', save_best='confidence', rule='greater')
    )
    config['custom_hooks'] = [dict(type='FinalTestHook'), dict(type='MetricsFileHook')]
    config['custom_imports'] = dict(imports=['tests.mmdistill.tiny'])
    path = tmp_path / 'tiny.py'
    Config(config).dump(path)
    return path


def test_what_is_finished_is_not_done_again_and_another_config_is_refused(tiny, tmp_path):
    said = []
    runs = plan([str(tiny)], [0], tmp_path / 'runs')
    run(runs, said.append, seconds={runs[0].folder: 5.0}, verbose=False)
    results = runs[0].folder / 'results.json'
    written = results.stat().st_mtime_ns
    run(runs, said.append)
    assert results.stat().st_mtime_ns == written
    begins, ends, again = said
    assert 'tiny.py' in begins and 'done in' in ends and 'already done' in again
    assert 'Epoch(train)' in (runs[0].folder / 'console.log').read_text()
    other = plan([str(tiny)], [0], tmp_path / 'runs', {'optim_wrapper.optimizer.lr': 0.5})
    with pytest.raises(ValueError, match='holds a run of another config'):
        run(other, said.append)


def test_a_config_without_the_hooks_says_which(tiny, tmp_path):
    options = {'custom_hooks': []}
    with pytest.raises(RuntimeError, match='FinalTestHook.*MetricsFileHook'):
        run(plan([str(tiny)], [0], tmp_path / 'runs', options), str)


# ------------------------------------------------------------------ the table
@pytest.fixture
def work_dir(tmp_path):
    """Results of two configs, three seeds, two fusions, written by hand."""
    f1 = {
        ('alone', 'Sum'): [0.70, 0.72, 0.68],
        ('alone', 'Gate'): [0.60, 0.61, 0.62],
        ('taught', 'Sum'): [0.75, 0.78, 0.72],
        ('taught', 'Gate'): [0.60, 0.66, 0.57],
    }
    for (name, fusion), values in f1.items():
        for seed, value in enumerate(values):
            plain = dict(type='Plain', fusion=dict(type=fusion))
            links = dict(a=dict(loss=dict(type='KDLoss')), b=None)
            taught = dict(type='Distiller', student=plain, links=links)
            evaluator = dict(tasks=dict(organ=dict(classes=['a', 'b'])))
            content = dict(
                config=dict(model=plain if name == 'alone' else taught, test_evaluator=evaluator),
                test=dict(mean_f1=value, organ_confusion=[[3, 1], [0, 4]]),
                parameters=dict(total=41_000),
            )
            folder = tmp_path / 'runs' / name / f'fusion.type={fusion}' / f'seed_{seed}'
            folder.mkdir(parents=True)
            (folder / 'results.json').write_text(json.dumps(content))
    return tmp_path / 'runs'


def test_gains_are_paired_by_seed_and_by_what_was_varied(work_dir):
    found = differences(read_groups(work_dir), 'mean_f1', 'alone')
    gain = found['taught/fusion.type=Sum']
    assert gain.mean == pytest.approx(0.05)
    half = 4.303 * 0.01 / 3**0.5
    assert (gain.low, gain.high) == pytest.approx((0.05 - half, 0.05 + half), abs=1e-4)
    assert found['taught/fusion.type=Gate'].mean == pytest.approx(0.0)
    assert found['alone/fusion.type=Sum'] is None


def test_the_table_has_links_options_spread_and_gain(work_dir):
    table = as_markdown(read_groups(work_dir), ['mean_f1'], 'alone', ['fusion.type'])
    rows = {line.split(' | ')[0]: line for line in table.splitlines()}
    assert rows['| taught/fusion.type=Sum'] == (
        '| taught/fusion.type=Sum | KDLoss | Sum | 0.041 M | 3 | 0.750 ± 0.030 | '
        '**+0.050 [+0.025, +0.075]** |'
    )
    assert rows['| alone/fusion.type=Gate'].endswith(
        '| - | Gate | 0.041 M | 3 | 0.610 ± 0.010 | - |'
    )
    assert '**' not in rows['| taught/fusion.type=Gate']


def test_the_pivot_is_loss_by_fusion(work_dir):
    lines = pivot(read_groups(work_dir), 'mean_f1', 'fusion.type').splitlines()
    assert lines[0] == '| mean_f1 | Gate | Sum |'
    assert lines[2:] == [
        '| alone | 0.610 ± 0.010 | 0.700 ± 0.020 |',
        '| taught | 0.610 ± 0.046 | 0.750 ± 0.030 |',
    ]


def test_the_pivot_keeps_other_options_apart(work_dir):
    for path in sorted(work_dir.glob('alone/*')):
        for sees in ('image', 'text'):
            seed = path / f'sees={sees}' / 'seed_0'
            seed.mkdir(parents=True)
            content = json.loads((path / 'seed_0' / 'results.json').read_text())
            content['test']['mean_f1'] /= 2 if sees == 'image' else 4
            (seed / 'results.json').write_text(json.dumps(content))
    lines = pivot(read_groups(work_dir), 'mean_f1', 'fusion.type').splitlines()
    assert '| alone/sees=image | 0.300 | 0.350 |' in lines
    assert '| alone/sees=text | 0.150 | 0.175 |' in lines


def test_pictures_are_written(work_dir):
    draw(read_groups(work_dir), 'mean_f1', work_dir / 'all.png', 'alone')
    assert (work_dir / 'all.png').read_bytes().startswith(PNG)
    results = next(work_dir.rglob('results.json'))
    assert draw_run(results).read_bytes().startswith(PNG)
    with pytest.raises(ValueError, match=r'organ: \(2, 2\) counts for 1 classes'):
        draw_confusions(dict(organ=[[1, 0], [0, 1]]), dict(organ=['a']), work_dir / 'x.png')


def test_a_metric_that_is_not_there_comes_with_those_that_are(work_dir):
    with pytest.raises(KeyError, match=r"no test metric 'f1'; it has \['mean_f1'\]"):
        as_markdown(read_groups(work_dir), ['f1'])


def test_an_empty_folder_says_what_was_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'NAME/seed_N/results\.json'):
        read_groups(tmp_path)
