"""The tool that lists what links can address."""


def test_layers_of_student_and_teacher_stand_side_by_side(run_tool, tiny_lidarsim):
    done = run_tool(
        'list_layers.py',
        *('configs/distill/bevfusion_best_mini.py', '--depth', '2'),
        *('--cfg-options', f'train_dataloader.dataset.data_root={tiny_lidarsim}/'),
    )
    assert done.returncode == 0, done.stdout[-2000:]
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    neck = rows['pts_neck[0]']
    assert '2 x 64 x 64 x 64' in neck and '2 x 128 x 64 x 64' in neck and ' 4     1' in neck
    assert 'SparseConvTensor' in rows['pts_middle_encoder.conv_input']
    assert 'bbox_head[0][0][heatmap]' in rows
    assert "student='pts_backbone[1]', teacher='pts_backbone[1]'" in done.stdout
    assert 'student_channels=64, teacher_channels=128, size 32 x 32' in done.stdout
