"""What a protocol plans, and what it makes of the logs of its runs."""

import json

import pytest

from mmdistill.analysis.protocol import (
    Protocol,
    Row,
    as_markdown,
    gather,
    step_seconds,
)

ROWS = [
    Row('alone', 'alone', 'student.py'),
    Row('linked', 'with links', 'linked.py', options={'a.b': 1}, against=['alone']),
    Row('longer', 'longer', 'student.py', as_long_as='linked', instead_of='alone'),
]


def write_log(folder, metrics, step_s=0.1, steps=20, start='20250101_000000', epochs=4):
    log = folder / start / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    lines = [{'loss': 1.0, 'time': step_s, 'step': step} for step in range(1, steps + 1)]
    lines.append({f'Evaluator/{name}': value for name, value in metrics.items()} | {'step': 4})
    log.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    (folder / f'epoch_{epochs}.pth').touch()


@pytest.fixture
def protocol():
    return Protocol(ROWS, epochs=4, seeds=[0, 1], options={'data_root': 'x'}, metrics=['mAP'])


def test_seeds_come_one_after_the_other_so_that_a_stopped_protocol_has_whole_rows(
    protocol, tmp_path
):
    names = [run.name for run in protocol.runs(tmp_path)]
    assert names == ['alone_seed0', 'linked_seed0', 'alone_seed1', 'linked_seed1']


def test_a_run_has_the_protocols_options_its_rows_its_seed_and_its_length(protocol, tmp_path):
    run = protocol.runs(tmp_path)[3]
    assert run.options['data_root'] == 'x'
    assert run.options['a.b'] == 1
    assert run.options['randomness.seed'] == 1
    for key in ('train_cfg.max_epochs', 'train_cfg.val_interval', 'param_scheduler.0.total_steps'):
        assert run.options[key] == 4


def test_the_longer_control_gets_the_time_of_the_other_rows_steps(protocol, tmp_path):
    write_log(tmp_path / 'alone_seed0', {'mAP': 0.5}, step_s=0.2)
    assert 'longer_seed0' not in [run.name for run in protocol.runs(tmp_path)]
    write_log(tmp_path / 'linked_seed0', {'mAP': 0.6}, step_s=0.5)
    lengths = {run.name: run.epochs for run in protocol.runs(tmp_path)}
    assert lengths['longer_seed0'] == lengths['longer_seed1'] == 10
    assert lengths['alone_seed1'] == 4


def test_a_row_may_have_seeds_of_its_own(tmp_path):
    protocol = Protocol([Row('a', 'a', 'a.py'), Row('b', 'b', 'b.py', seeds=[7])], 1, [0])
    assert [run.name for run in protocol.runs(tmp_path)] == ['a_seed0', 'b_seed7']


def test_a_teacher_that_is_a_row_comes_first_and_its_last_checkpoint_teaches(tmp_path):
    rows = [
        Row('big', 'teacher', 'big.py', epochs=8, seeds=[3]),
        Row('alone', 'alone', 'small.py'),
        Row('taught', 'taught', 'taught.py', teacher='big', against=['alone']),
    ]
    protocol = Protocol(rows, epochs=4, seeds=[0, 1], metrics=['mAP'], titles={'mAP': 'precision'})
    runs = {run.name: run for run in protocol.runs(tmp_path)}
    assert list(runs) == ['big_seed3', 'alone_seed0', 'taught_seed0', 'alone_seed1', 'taught_seed1']
    assert runs['big_seed3'].epochs == runs['big_seed3'].options['train_cfg.max_epochs'] == 8
    assert runs['taught_seed1'].needs == ('big_seed3',)
    file = runs['taught_seed1'].options['model.teacher.checkpoint']
    assert file == str(tmp_path / 'big_seed3' / 'epoch_8.pth')
    assert 'model.teacher.checkpoint' not in runs['alone_seed1'].options
    for name, score in (('big_seed3', 0.9), ('alone_seed0', 0.5), ('taught_seed0', 0.6)):
        write_log(tmp_path / name, {'mAP': score})
    finished = [runs[name] for name in ('big_seed3', 'alone_seed0', 'taught_seed0')]
    table = as_markdown(protocol, gather(protocol, finished, tmp_path))
    assert 'precision | precision gained' in table
    assert '| teacher | 8 | 1 | 0.900 |' in table
    assert '+0.100 over *alone*' in table
    with pytest.raises(ValueError, match="'taught' has the teacher 'big', which is trained behind"):
        Protocol(rows[::-1], epochs=4, seeds=[0], metrics=['mAP'])
    with pytest.raises(ValueError, match=r"compared by \['mAP'\], which are none of the metrics"):
        Protocol(rows, epochs=4, seeds=[0], metrics=['NDS'])


def test_the_table_has_means_deviations_and_paired_intervals(protocol, tmp_path):
    for seed, (alone, linked) in enumerate([(0.50, 0.55), (0.60, 0.63)]):
        write_log(tmp_path / f'alone_seed{seed}', {'mAP': alone}, step_s=3.0)
        write_log(tmp_path / f'linked_seed{seed}', {'mAP': linked})
    runs = [run for run in protocol.runs(tmp_path) if run.row.name != 'longer']
    rows = gather(protocol, runs, tmp_path)
    difference = rows[1]['against']['alone']['mAP']
    assert difference['mean'] == pytest.approx(0.04)
    assert difference['low'] < 0 < difference['high']
    assert rows[0]['minutes'] == pytest.approx(1.0)
    table = as_markdown(protocol, json.loads(json.dumps(rows)))
    assert '| alone | 4 | 2 | 0.550 ± 0.071 |  | 1 |' in table
    assert '+0.040 (-0.087 .. +0.167) over *alone*' in table


def test_rows_are_compared_by_several_metrics(tmp_path):
    protocol = Protocol(ROWS, 4, [0], metrics=['mAP', 'NDS'], compared=['mAP', 'NDS'])
    write_log(tmp_path / 'alone_seed0', {'mAP': 0.5, 'NDS': 0.4})
    write_log(tmp_path / 'linked_seed0', {'mAP': 0.6, 'NDS': 0.7})
    runs = [run for run in protocol.runs(tmp_path) if run.row.name != 'longer']
    table = as_markdown(protocol, gather(protocol, runs, tmp_path))
    assert '| mAP | NDS | mAP gained | NDS gained | minutes |' in table
    assert '| +0.100 over *alone* | +0.300 over *alone* |' in table


def test_the_time_of_a_run_that_read_the_teachers_cache_is_not_its_own(protocol, tmp_path):
    for name in ('alone_seed0', 'linked_seed0', 'linked_seed1'):
        write_log(tmp_path / name, {'mAP': 0.5}, step_s=3.0)
    for name in ('linked_seed0', 'linked_seed1'):
        config = tmp_path / name / '20250101_000000' / 'vis_data' / 'config.py'
        config.write_text("model = dict(teacher=dict(cache='a/folder'))")
    assert protocol.timed_runs() == {'alone_seed0', 'linked_seed0'}
    with pytest.raises(ValueError, match='linked_seed0 read its teacher.*without --teacher-cache'):
        protocol.runs(tmp_path)
    config = tmp_path / 'linked_seed0' / '20250101_000000' / 'vis_data' / 'config.py'
    config.write_text('model = dict(teacher=dict())')
    runs = [run for run in protocol.runs(tmp_path) if run.row.name == 'linked']
    assert gather(protocol, runs, tmp_path)[0]['minutes'] == pytest.approx(1.0)
    (row,) = gather(protocol, runs[1:], tmp_path)
    assert row['minutes'] is None
    assert as_markdown(protocol, [row]).endswith('|  |\n')


def test_rows_without_a_finished_run_are_left_out(protocol, tmp_path):
    assert gather(protocol, [], tmp_path) == []


def test_a_log_without_steps_tells_no_time(tmp_path):
    with pytest.raises(FileNotFoundError, match='no training step'):
        step_seconds(tmp_path)


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ([Row('a', 'a', 'a.py'), Row('a', 'b', 'b.py')], 'names of their own'),
        ([Row('a', 'a', 'a.py', against=['b'])], r"names the rows \['b'\]"),
        ([Row('a', 'a', 'a.py', as_long_as='a')], 'belong together'),
    ],
)
def test_a_protocol_that_contradicts_itself_is_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        Protocol(rows, epochs=1, seeds=[0])


def test_a_config_without_a_protocol_is_refused(tmp_path):
    (tmp_path / 'plain.py').write_text('model = dict()\n')
    with pytest.raises(ValueError, match='no `protocol`'):
        Protocol.from_file(tmp_path / 'plain.py')


def test_other_seeds_leave_the_teacher(tmp_path):
    rows = [
        Row('teacher', 'teacher', 'a.py', seeds=[0]),
        Row('taught', 'taught', 'b.py', teacher='teacher'),
        Row('few', 'few', 'b.py', seeds=[0, 3]),
    ]
    runs = Protocol(rows, epochs=4, seeds=[0, 1, 2]).shortened([3, 4], 1).runs(tmp_path)
    names = ['teacher_seed0', 'taught_seed3', 'few_seed3', 'taught_seed4']
    assert [run.name for run in runs] == names
    assert {run.epochs for run in runs} == {1}
    assert runs[1].needs == ('teacher_seed0',)
