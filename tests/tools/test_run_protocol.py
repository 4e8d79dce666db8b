"""A protocol from its file to its table, on a toy model."""

import json
from pathlib import Path

import pytest

from mmdistill.analysis.protocol import Protocol

FOLDER = Path(__file__).resolve().parents[2] / 'configs/distill/protocols'
PROTOCOLS = sorted(path.stem for path in FOLDER.glob('*.py'))

PROTOCOL = """
protocol = dict(
    epochs=1,
    seeds=[0, 1],
    metrics=['mAP', 'NDS'],
    compared=['NDS'],
    options={{
        'default_hooks.checkpoint': dict(_delete_=True, type='CheckpointHook', interval=1),
        'param_scheduler.0.by_epoch': True,
        'param_scheduler.0.convert_to_iter_based': True,
    }},
    rows=[
        dict(name='plain', label='plain', config='{config}'),
        dict(name='fast', label='at a higher rate', config='{config}', against=['plain'],
             options={{'optim_wrapper.optimizer.lr': 0.1}}),
        dict(name='longer', label='for longer', config='{config}', against=['plain'],
             as_long_as='fast', instead_of='plain', seeds=[0]),
    ])
"""


@pytest.mark.slow
def test_the_tool_trains_all_rows_writes_the_table_and_does_nothing_twice(toy_project):
    protocol = toy_project.folder / 'toy_protocol.py'
    protocol.write_text(PROTOCOL.format(config=toy_project.config))
    (toy_project.folder / 'data' / 'toy').mkdir(parents=True)
    work_dir = toy_project.folder / 'runs'
    command = ('benchmarks/run_protocol.py', protocol, '--work-dir', work_dir, '--parallel', 1)
    first = toy_project.tool(*command)
    assert first.returncode == 0, first.stdout
    table = (work_dir / 'toy_protocol.md').read_text()
    assert '| plain | 1 | 2 | 0.500 ± 0.000 |' in table
    assert 'over *plain*' in table
    rows = json.loads((work_dir / 'toy_protocol.json').read_text())['rows']
    assert [row['name'] for row in rows] == ['plain', 'fast', 'longer']
    assert set(rows[1]['seeds']) == {'0', '1'}
    second = toy_project.tool(*command)
    assert second.returncode == 0, second.stdout
    assert second.stdout.count(' done   ') >= 5
    assert ' starts' not in second.stdout


@pytest.mark.parametrize('name', PROTOCOLS)
def test_the_repositorys_protocols_name_configs_that_exist(repository, name, tmp_path, monkeypatch):
    monkeypatch.chdir(repository)
    protocol = Protocol.from_file(f'configs/distill/protocols/{name}.py')
    assert all((repository / row.config).exists() for row in protocol.rows)
    assert protocol.runs(tmp_path)
