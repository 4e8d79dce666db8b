"""The tool that lists what links can address."""

import subprocess
import sys

from tools.demo import DISTILL


def test_layers_of_student_and_teacher_stand_side_by_side(repository, tmp_path):
    data = tmp_path / 'lidarsim'
    run(repository, 'create_lidarsim.py', '--out', data, *['--scenes', '1', '--val-scenes', '1'])
    dataset = f'train_dataloader.dataset.data_root={data}/'
    out = run(repository, 'list_layers.py', DISTILL, '--depth', '2', '--cfg-options', dataset)
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    neck = rows['pts_neck[0]']
    assert '2 x 64 x 64 x 64' in neck and '2 x 128 x 64 x 64' in neck and ' 4     1' in neck
    assert 'SparseConvTensor' in rows['pts_middle_encoder.conv_input']
    assert 'bbox_head[0][0][heatmap]' in rows
    assert "student='pts_backbone[1]', teacher='pts_backbone[1]'" in out
    assert 'student_channels=64, teacher_channels=128, size 32 x 32' in out


def run(repository, tool, *arguments):
    command = [sys.executable, f'tools/{tool}', *map(str, arguments)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
