"""The command that compares models, on the two mini detectors and a sweep alone."""

import json

import numpy as np

TEACHER = 'configs/bevfusion/bevfusion_lidar_teacher_mini.py'
STUDENT = 'configs/bevfusion/bevfusion_lidar_student_mini.py'


def test_a_sweep_suffices_for_numbers_and_table(run_tool, tmp_path):
    points = np.random.RandomState(0).uniform(-1, 1, (2000, 5)) * [25, 25, 2, 100, 30]
    points.astype(np.float32).tofile(tmp_path / 'sweep.pcd.bin')
    metrics, readme, out = (tmp_path / name for name in ('metrics.json', 'README.md', 'c.json'))
    metrics.write_text(json.dumps({'prefix/mAP': 0.61, 'prefix/NDS': 0.52}))
    readme.write_text('before\n<!-- compare-models -->\n<!-- /compare-models -->\nafter\n')
    done = run_tool(
        'analysis/compare_models.py',
        *(TEACHER, STUDENT, '--repeats', '2', '--points', tmp_path / 'sweep.pcd.bin'),
        *('--results', '-', metrics, '--out', out, '--update-readme', readme),
    )
    assert done.returncode == 0, done.stdout
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
    assert 'sweep.pcd.bin' in out.with_suffix('.md').read_text()
    assert out.with_suffix('.md').read_text() in done.stdout
    assert readme.read_text().startswith('before\n<!-- compare-models -->\n| config |')


def test_every_config_gets_one_result_or_none_does(run_tool):
    done = run_tool('analysis/compare_models.py', TEACHER, STUDENT, '--results', 'one')
    assert done.returncode == 2
    assert '2 models but 1 results' in done.stdout
