"""Memories on two gloo processes: equal banks, and the loss of one process with the whole batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from mmdistill.memory import ContrastMemory, QueueMemory
from tests.mmdistill.test_queue_memory import NaiveQueues, objects

ROOT = Path(__file__).parents[2]
HEADER = """
import sys
import torch
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
import mmdistill
from mmdistill.memory import *
from tests.mmdistill.test_distributed_memory import *

torch.distributed.init_process_group('gloo')
rank, folder = torch.distributed.get_rank(), sys.argv[1]
"""
FOOTER = """
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def run_on_two_ranks(script, tmp_path):
    """Run a script, which saves ``rank{rank}.pt``, on two processes; return what they saved."""
    path = tmp_path / 'script.py'
    path.write_text(HEADER + script + FOOTER)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    command += ['--nproc_per_node=2', str(path), str(tmp_path)]
    python_path = os.pathsep.join([str(ROOT), str(ROOT / 'projects')])
    env = {**os.environ, 'PYTHONPATH': python_path, 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(tmp_path / f'rank{rank}.pt') for rank in (0, 1)]


class Embedder(torch.nn.Module):
    """Two linear projections and a memory: the smallest model that DDP can wrap."""

    def __init__(self, memory, features=5):
        super().__init__()
        torch.manual_seed(3)
        self.student = torch.nn.Linear(features, memory.embed_dims)
        self.teacher = torch.nn.Linear(features, memory.embed_dims)
        self.memory = memory

    def forward(self, student, teacher, *keys):
        student, teacher = F.normalize(self.student(student)), F.normalize(self.teacher(teacher))
        return self.memory(student, teacher, *keys)

    def gradients(self):
        return {name: p.grad.clone() for name, p in self.named_parameters()}


def train(model, batches, gather=None):
    """Take a step on each batch; return losses, the gradients of the last and the state."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for batch in batches:
        loss = model(*batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    plain = getattr(model, 'module', model)
    if gather is not None:
        gather.gather()
    state = {key: value.clone() for key, value in plain.state_dict().items()}
    return dict(losses=losses, gradients=plain.gradients(), state=state)


def object_batches(rank, steps=20):
    """Objects of each step: another number on each rank, sometimes none; both ranks for None."""
    batches = []
    for step in range(steps):
        parts = []
        for number, count in enumerate([(step * 3) % 5, (step * 2 + 3) % 4]):
            torch.manual_seed(100 * step + number)
            part = torch.randn(count, 5), torch.randn(count, 5), torch.randint(-1, 3, (count,))
            parts.append(part)
        batches.append(
            tuple(map(torch.cat, zip(*parts, strict=True))) if rank is None else parts[rank]
        )
    return batches


def queue_model(negatives='other_classes'):
    return Embedder(
        QueueMemory(3, embed_dims=6, queue_length=4, num_negatives=9, negatives=negatives)
    )


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


@pytest.mark.parametrize('negatives', ['other_classes', 'all'])
def test_queues_of_two_ranks_are_those_of_one_process_with_all_objects(tmp_path, negatives):
    """With all rows as negatives, an object that took another's row for its own would show."""
    script = f"""
model = DistributedDataParallel(queue_model({negatives!r}), broadcast_buffers=False)
torch.save(train(model, object_batches(rank)), f'{{folder}}/rank{{rank}}.pt')
"""
    one, other = run_on_two_ranks(script, tmp_path)
    assert_equal(one['state'], other['state'])
    alone = train(queue_model(negatives), object_batches(None))
    for key, value in alone['state'].items():
        torch.testing.assert_close(one['state'][key], value, rtol=1e-4, atol=1e-5)
    means = [(a + b) / 2 for a, b in zip(one['losses'], other['losses'], strict=True)]
    torch.testing.assert_close(means, alone['losses'], rtol=1e-4, atol=1e-5)


def rank_objects(rank, count):
    """Embeddings and classes of a rank's objects."""
    return *objects(count, seed=rank), torch.arange(count) % 3


def test_objects_beyond_max_objects_take_no_row_of_another_rank(tmp_path):
    """Rank 0 has three objects more than may enter, rank 1 one less."""
    counts, most = (6, 2), 3
    script = f"""
from tests.mmdistill.test_queue_memory import memory
bank = memory(negatives='all', max_objects={most})
loss = bank(*rank_objects(rank, {counts}[rank])).detach()
torch.save(dict(loss=loss, bank=bank.student_bank), f'{{folder}}/rank{{rank}}.pt')
"""
    one, other = run_on_two_ranks(script, tmp_path)
    assert torch.equal(one['bank'], other['bank'])
    naive, slots = NaiveQueues(), []
    parts = [rank_objects(rank, count) for rank, count in enumerate(counts)]
    for student, teacher, labels in parts:
        for i, label in enumerate(labels.tolist()):
            slots.append(naive.put(student[i], teacher[i], label) if i < most else None)
    student, teacher, labels = map(torch.cat, zip(*parts, strict=True))
    expected = naive.loss(student, teacher, labels.tolist(), slots, [-1] * 8, 'all').detach()
    torch.testing.assert_close((one['loss'] + other['loss']) / 2, expected, rtol=1e-9, atol=1e-9)


OPTIONS = dict(
    plain=dict(),
    classes=dict(exclude_same_class=True),
    first=dict(normaliser='first_batch'),
    drawn=dict(form='exact'),
    rows=dict(positive='current', bank_dtype='bfloat16'),
)


def scene_batches(rank, steps=20, draws=None):
    """Three samples a rank and step, some of them twice; both ranks' for None."""
    batches = []
    for step in range(steps):
        torch.manual_seed(step)
        index = torch.randint(0, 11, (6,))
        batch = [torch.randn(6, 5), torch.randn(6, 5), index]
        if draws:
            batch.append(draws_of(index, draws))
        part = slice(None) if rank is None else slice(3 * rank, 3 * rank + 3)
        batches.append(tuple(value[part] for value in batch))
    return batches


def draws_of(index, count):
    return (index[:, None] + torch.randint(1, 11, (len(index), count))) % 11


def scene_model(**options):
    memory = ContrastMemory(embed_dims=6, num_negatives=9, num_samples=11, chunk_size=4, **options)
    return Embedder(memory)


class Labelled(torch.nn.Module):
    """Gives each sample the class ``index % 3``."""

    def __init__(self, embedder):
        super().__init__()
        self.embedder = embedder

    def forward(self, student, teacher, index, negatives=None):
        return self.embedder(student, teacher, index, negatives, None, index % 3)

    def gradients(self):
        return self.embedder.gradients()


SCENES = """
results = {}
for name, options in OPTIONS.items():
    for kind in (dict(broadcast_buffers=True), dict(broadcast_buffers=False), dict(shard=True)):
        kind = dict(kind)
        shard = kind.pop('shard', False)
        model = Labelled(scene_model(shard=shard, **options))
        batches = scene_batches(rank, draws=9 if name == 'drawn' else None)
        wrapped = DistributedDataParallel(model, **kind)
        losses = train(wrapped, batches) if not shard else train_sharded(wrapped, batches)
        results[name, shard, kind.get('broadcast_buffers', True)] = losses
torch.save(results, f'{folder}/rank{rank}.pt')
"""


def train_sharded(model, batches):
    """Like :func:`train`, and continue half-way from the checkpoint of an unsharded state."""
    memory = model.module.embedder.memory
    half = len(batches) // 2
    first = train(model, batches[:half], gather=memory)
    with pytest.raises(RuntimeError, match='gather'):
        model(*batches[0])
        model.state_dict()
    model.module.load_state_dict(first['state'])
    second = train(model, batches[half:], gather=memory)
    return {**second, 'losses': first['losses'] + second['losses']}


def test_scene_banks_of_two_ranks_are_those_of_one_process(tmp_path):
    results = run_on_two_ranks(SCENES, tmp_path)
    for case in results[0]:
        name, shard, _ = case
        one, other = results[0][case], results[1][case]
        assert_equal(one['state'], other['state'])
        alone = train(
            Labelled(scene_model(**OPTIONS[name])),
            scene_batches(None, draws=9 if name == 'drawn' else None),
        )
        tolerance = 2e-2 if name == 'rows' else 1e-4
        for key, value in alone['state'].items():
            torch.testing.assert_close(
                one['state'][key], value, rtol=tolerance, atol=tolerance, msg=f'{case} {key}'
            )
        means = [(a + b) / 2 for a, b in zip(one['losses'], other['losses'], strict=True)]
        torch.testing.assert_close(means, alone['losses'], rtol=tolerance, atol=tolerance)
        if shard:
            whole = results[0][name, False, True]
            torch.testing.assert_close(one['losses'], whole['losses'], rtol=1e-4, atol=1e-4)
