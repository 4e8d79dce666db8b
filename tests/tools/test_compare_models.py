"""Models are compared on a sweep alone, and accuracies come from evaluations."""

import json
import sys

import numpy as np
import pytest
import torch

from tools.analysis import compare_models
from tools.analysis.comparison import read_result
from tools.analysis.memory import peak_bytes

TEACHER = 'configs/bevfusion/bevfusion_lidar_teacher_mini.py'
STUDENT = 'configs/bevfusion/bevfusion_lidar_student_mini.py'
METRICS = {'prefix/car_AP_dist_0.5': 0.1, 'prefix/mAP': 0.61, 'prefix/NDS': 0.52}


@pytest.fixture
def sweep(tmp_path):
    points = np.random.RandomState(0).uniform(-1, 1, (2000, 5)) * [25, 25, 2, 100, 30]
    path = tmp_path / 'sweep.pcd.bin'
    points.astype(np.float32).tofile(path)
    return path


@pytest.fixture
def compare(repository, monkeypatch):
    """`compare(*arguments)` runs the tool on the two mini detectors."""

    def run(*arguments):
        monkeypatch.chdir(repository)
        command = ['compare_models.py', TEACHER, STUDENT, '--repeats', '2', *map(str, arguments)]
        monkeypatch.setattr(sys, 'argv', command)
        compare_models.main()

    return run


def test_a_sweep_suffices_for_table_numbers_and_plot(compare, sweep, tmp_path, capsys):
    metrics = tmp_path / 'metrics.json'
    metrics.write_text(json.dumps(METRICS))
    readme = tmp_path / 'README.md'
    readme.write_text('before\n<!-- compare-models -->\n<!-- /compare-models -->\nafter\n')
    out = tmp_path / 'new' / 'compare.json'
    compare('--points', sweep, '--results', '-', metrics, '--out', out, '--update-readme', readme)
    result = json.loads(out.read_text())
    teacher, student = result[TEACHER], result[STUDENT]
    assert (teacher['params'], student['params']) == (1_607_598, 340_230)
    for kind in ('dense_macs', 'sparse_macs', 'ms_per_frame', 'peak_bytes'):
        assert student[kind] > 0
    assert student['dense_macs'] < teacher['dense_macs']
    assert student['sparse_macs'] < teacher['sparse_macs']
    assert student['frames_timed'] == 2
    assert 'mAP' not in teacher
    assert (student['mAP'], student['NDS']) == (0.61, 0.52)
    assert {'commit', 'date', 'machine', 'device', 'torch', 'frames'} <= set(result['run'])
    table = out.with_suffix('.md').read_text()
    assert '| `bevfusion_lidar_student_mini` | 0.34 M (21 %) |' in table
    assert '| 0.610 | 0.520 |' in table
    assert 'sweep.pcd.bin' in table
    assert table in capsys.readouterr().out
    assert readme.read_text().startswith('before\n<!-- compare-models -->\n| config |')
    assert out.with_suffix('.png').read_bytes().startswith(b'\x89PNG')


def test_without_accuracies_there_is_no_plot(compare, sweep, tmp_path):
    compare('--points', sweep, '--out', tmp_path / 'compare.json')
    assert not (tmp_path / 'compare.png').exists()


@pytest.mark.parametrize('option', ['--results', '--checkpoints'])
def test_every_config_gets_one_result_or_none_does(compare, sweep, option, capsys):
    with pytest.raises(SystemExit):
        compare('--points', sweep, option, 'one')
    assert '2 configs but 1' in capsys.readouterr().err


def test_a_file_of_other_points_is_refused(compare, sweep):
    with pytest.raises(ValueError, match='no multiple of --load-dim 7'):
        compare('--points', sweep, '--load-dim', '7')


def test_accuracies_are_read_from_files_lines_and_work_dirs(tmp_path):
    whole = tmp_path / 'run' / '20250101_000000' / '20250101_000000.json'
    whole.parent.mkdir(parents=True)
    whole.write_text(json.dumps(METRICS))
    lines = tmp_path / 'scalars.json'
    later = {'prefix/mAP': 0.7, 'prefix/NDS': 0.6}
    lines.write_text('\n'.join(json.dumps(line) for line in (METRICS, later, {'loss': 1.0})))
    assert read_result(str(whole)) == read_result(str(tmp_path / 'run')) == dict(mAP=0.61, NDS=0.52)
    assert read_result(str(lines)) == dict(mAP=0.7, NDS=0.6)
    assert read_result('-') == read_result(None) == {}
    whole.write_text('{"loss": 1.0}')
    with pytest.raises(FileNotFoundError, match='no mAP and NDS'):
        read_result(str(whole))


def test_peak_memory_sees_what_is_freed_again():
    mebibytes = 96
    found = peak_bytes(lambda: torch.ones(mebibytes, 2**18).sum())
    if found is None:
        pytest.skip('the system does not tell')
    assert 0.9 * mebibytes < found / 2**20 < 1.5 * mebibytes
