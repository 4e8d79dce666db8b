"""The tool that makes a distillation config of two detectors."""


def test_two_configs_become_a_third(run_tool, tmp_path):
    teacher, out = 'configs/bevfusion/bevfusion_lidar_teacher_mini', tmp_path / 'mine.py'
    done = run_tool(
        'distill.py',
        *('--teacher', f'{teacher}.py', '--teacher-checkpoint', f'{teacher}.pth'),
        *('--student', 'configs/bevfusion/bevfusion_lidar_student_mini.py'),
        *('--recipe', 'response', '--out', str(out)),
    )
    assert done.returncode == 0, done.stdout[-2000:]
    for text in ('linked (recipe response)', 'left out:', f'wrote {out}', 'tools/preflight.py'):
        assert text in done.stdout
    assert "type='TransFusionKDLoss'" in out.read_text()


def test_weights_are_measured_at_the_start(run_tool, repository, tiny_lidarsim, tmp_path):
    teacher, out = 'configs/bevfusion/bevfusion_lidar_teacher_mini', tmp_path / 'mine.py'
    student = tmp_path / 'student.py'
    student.write_text(
        f"_base_ = ['{repository}/configs/bevfusion/bevfusion_lidar_student_mini.py']\n"
        f'train_dataloader = dict(num_workers=0, persistent_workers=False, '
        f"dataset=dict(data_root='{tiny_lidarsim}/'))\n"
    )
    done = run_tool(
        'distill.py',
        *('--teacher', f'{teacher}.py', '--teacher-checkpoint', f'{teacher}.pth'),
        *('--student', student, '--calibrate', '--batches', 1, '--out', out),
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert 'as hard as the detection losses' in out.read_text()
    assert 'set for 0.33' in done.stdout
