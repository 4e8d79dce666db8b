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
