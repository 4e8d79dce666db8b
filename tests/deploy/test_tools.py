"""The commands, and an export among the models that are compared."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes

from deploy.check import measure_drift, predict
from deploy.detector import Detector
from deploy.evaluate import ExportedDetector
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
