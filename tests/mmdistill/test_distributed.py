"""Two processes on the CPU: equal parameters, equal banks, no unused parameters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SCRIPT = """
import gc
import sys
import torch
from mmengine.dist import get_rank
from mmengine.runner import Runner
import mmdistill
from tests.mmdistill.tiny import TinyClassifier, runner_config

# MMEngine's own start-up would choose a CUDA device.
torch.distributed.init_process_group('gloo')
work_dir, broadcast = sys.argv[1], sys.argv[2] == 'True'
torch.manual_seed(1)
if get_rank() == 0:
    torch.save(dict(state_dict=TinyClassifier(16).state_dict()), f'{work_dir}/teacher.pth')
torch.distributed.barrier()
layer = dict(student='backbone[1]', teacher='backbone[1]')
crd = dict(type='CRDLoss', student_channels=8, teacher_channels=16, embed_dims=6,
           memory=dict(num_negatives=5))
model = dict(
    type='Distiller', student=dict(type='TinyClassifier', width=8),
    teacher=dict(config=dict(type='TinyClassifier', width=16),
                 checkpoint=f'{work_dir}/teacher.pth'),
    links=dict(crd=dict(layer, loss=crd),
               spread=dict(layer, loss={**crd, 'memory': dict(num_negatives=5, shard=True)}),
               late=dict(layer, loss=crd, schedule=dict(kind='constant', begin=3))))
config = runner_config(
    work_dir, model, epochs=10, launcher='pytorch',
    model_wrapper_cfg=dict(type='MMDistributedDataParallel', broadcast_buffers=broadcast,
                           device_ids=None))
runner = Runner.from_cfg(config)
runner.train()
assert runner.iter == 20, runner.iter
teacher = runner.model.module.teachers['teacher'].model
assert not any(module.training for module in teacher.modules())
assert not {id(p) for p in teacher.parameters()} & {id(p) for p in runner.model.parameters()}
spread = runner.model.module.links['spread'].loss.memory
assert len(spread.student_bank) == 6 + 1  # half of 12 rows, and a spare one
spread.gather()
torch.save(runner.model.module.state_dict(), f'{work_dir}/rank{get_rank()}.pt')
# A gloo thread that outlives Python's shutdown can abort the process: leave in order.
del runner
gc.collect()
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize('broadcast_buffers', [True, False])
def test_two_ranks_end_with_equal_parameters_and_banks(tmp_path, broadcast_buffers):
    script = tmp_path / 'train.py'
    script.write_text(SCRIPT)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    command += ['--nproc_per_node=2', str(script), str(tmp_path), str(broadcast_buffers)]
    path = os.pathsep.join([str(ROOT), str(ROOT / 'projects')])
    env = {**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (torch.load(tmp_path / f'rank{rank}.pt') for rank in (0, 1))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    bank = one['links.crd.loss.memory.teacher_bank']
    fresh = torch.load(tmp_path / 'epoch_1.pth')['state_dict']
    assert bank.shape == (12, 6)
    saved = torch.load(tmp_path / 'epoch_10.pth')['state_dict']
    assert all(torch.equal(one[key], saved[key]) for key in one)
    assert saved['links.spread.loss.memory.teacher_bank'].shape == (12, 6)
    assert not torch.equal(bank, fresh['links.crd.loss.memory.teacher_bank'])
