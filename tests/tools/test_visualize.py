"""The command that draws frames from above."""


def test_a_data_set_is_drawn_without_a_config(run_tool, tiny_lidarsim, tmp_path):
    done = run_tool(
        'visualize.py',
        *('--data', tiny_lidarsim, '--split', 'train', '--index', 0, 1, '--out', tmp_path),
    )
    assert done.returncode == 0, done.stdout
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ['lidarsim_train_0.png', 'lidarsim_train_1.png']
    assert str(tmp_path / names[0]) in done.stdout


def test_a_missing_data_set_ends_with_the_command_that_makes_it(run_tool, tmp_path):
    done = run_tool('visualize.py', '--data', 'nowhere', '--out', tmp_path)
    assert done.returncode == 1
    assert 'create_lidarsim.py --out nowhere' in done.stdout
    assert 'Traceback' not in done.stdout
