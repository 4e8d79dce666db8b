"""The commands, and an export among the models that are compared."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import Config

from deploy.check import measure_drift, predict
from deploy.detector import Detector
from deploy.evaluate import ExportedDetector
from deploy.frames import clouds_of_files, columns_of
from mmdistill.analysis.comparison import as_markdown, measure

REPO = Path(__file__).resolve().parents[2]


def tool(name, *arguments):
    return subprocess.run(
        [sys.executable, str(REPO / 'tools' / name), *map(str, arguments)],
        cwd=REPO,
        capture_output=True,
        text=True,
    )


def test_the_command_writes_two_files_in_8_bits_that_find_the_same(student, clouds, tmp_path):
    files = [tmp_path / f'{number}.bin' for number in range(2)]
    for file, cloud in zip(files, clouds, strict=False):
        cloud.tofile(file)
    out = tmp_path / 'out'
    options = ['--form', 'split', '--int8', 2, '--check', 1, '--points', *files]
    done = tool('export.py', student.config, student.checkpoint, '--out', out, *options)
    assert done.returncode == 0, done.stderr
    assert 'sparse.onnx' in done.stdout and 'int8' in done.stdout
    detector = Detector(out)
    assert detector.meta['files'] == ['sparse.onnx', 'dense.onnx']
    assert detector.meta['precision'] == 'int8' and detector.meta['calibration_frames'] == 2
    assert detector.meta['check']['box_error'] < 1e-3 and detector.meta['drift']['found'] > 0.6
    assert measure_drift(out, student.model, clouds[2:])['found'] > 0.6
    assert len(predict(student.model, clouds[2])[0]) == len(detector(clouds[2])[0])


def test_clouds_of_files_have_ages_and_not_rings(clouds, tmp_path):
    names = ['x', 'y', 'z', 'intensity', 'time_lag']
    cloud = clouds[0].copy()
    cloud[:, 4] = np.arange(len(cloud)) % 32
    cloud.tofile(tmp_path / 'sweep.bin')
    with pytest.raises(ValueError, match='sweep.bin: time_lag goes up to 31'):
        clouds_of_files([tmp_path / 'sweep.bin'], names)
    (read,) = clouds_of_files([tmp_path / 'sweep.bin'], names, are_sweeps=True)
    assert not read[:, 4].any() and np.array_equal(read[:, :4], cloud[:, :4])
    (frame,) = clouds_of_files([tmp_path / 'sweep.bin'], [*names[:4], 'ring'], are_sweeps=True)
    assert np.array_equal(frame, cloud)


def test_columns_are_those_that_the_loading_steps_keep():
    def columns(number, *steps):
        pipeline = [dict(type=f'LoadPointsFrom{kind}', **options) for kind, options in steps]
        return columns_of(
            Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline)))), number
        )

    file = ('File', dict(load_dim=5, use_dim=5))
    assert columns(5, file) == ['x', 'y', 'z', 'intensity', 'ring']
    assert columns(4, ('File', dict(load_dim=5, use_dim=4))) == ['x', 'y', 'z', 'intensity']
    assert columns(4, ('File', dict(load_dim=5, use_dim=[0, 1, 2, 4]))) == ['x', 'y', 'z', 'ring']
    assert columns(4, file, ('MultiSweeps', {})) == ['x', 'y', 'z', 'time_lag']
    sweeps = ('MultiSweeps', dict(use_dim=[0, 1, 2, 3, 4]))
    assert columns(5, file, sweeps) == ['x', 'y', 'z', 'intensity', 'time_lag']
    assert columns(6, file) == ['x', 'y', 'z', 'intensity', 'ring', 'feature_5']


def test_the_commands_end_with_a_sentence(exported, tmp_path):
    missing = tool('export.py', 'configs/nowhere.py', 'x.pth', '--out', tmp_path / 'out')
    assert missing.returncode == 1 and 'Traceback' not in missing.stderr
    assert "'configs/nowhere.py' does not exist" in missing.stderr


def test_an_export_is_a_row_beside_other_models(student, exported, clouds):
    sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes))
    batch = dict(inputs=dict(points=[torch.from_numpy(clouds[0])]), data_samples=[sample])
    export = ExportedDetector(str(exported[0]), threads=1)
    costs = measure([student.model, export], [batch], repeats=1)
    size = (exported[0] / 'model.onnx').stat().st_size
    assert costs[1]['file_bytes'] == size and costs[0]['file_bytes'] is None
    assert costs[1]['ms_per_frame'] > 0
    rows = dict(zip(['student.py', 'exports/student'], costs, strict=True))
    rows['exports/student'].update(mAP=0.5, NDS=0.6)
    run = dict.fromkeys(('commit', 'date', 'machine', 'torch', 'device', 'frames'), '-')
    line = as_markdown(rows, run).splitlines()[3]
    assert line.startswith(f'| `student` | {size / 1e6:.2f} MB of files |')
    assert line.endswith('| 0.500 | 0.600 |')
    assert np.isfinite(costs[1]['processor_ms_per_frame'])
