"""Symmetric InfoNCE against its formula, in one process and in two."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS

import mmdistill  # noqa: F401  (registers)

ROOT = Path(__file__).parents[3]


@pytest.fixture
def maps():
    """A student's and a teacher's map and a mask that leaves out two cells of a 2 x 2 grid."""
    torch.manual_seed(0)
    student = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 1, 4, 6, dtype=torch.float64)
    mask[0, :, 2:] = 0
    return student, torch.randn(2, 5, 4, 6, dtype=torch.float64), mask


def contrastive(**settings):
    torch.manual_seed(1)
    config = dict(type='ContrastiveLoss', student_channels=3, teacher_channels=5, embed_dims=4)
    return MODELS.build({**config, **settings}).double()


def naive_info_nce(student, teacher, weight, temperature):
    """Student and teacher: lists of embeddings; those of weight 0 do not exist."""
    kept = [i for i in range(len(weight)) if weight[i] > 0]
    loss = 0.0
    for one, other in ((student, teacher), (teacher, student)):
        for i in kept:
            scores = {j: torch.exp((one[i] * other[j]).sum() / temperature) for j in kept}
            loss = loss - weight[i] * torch.log(scores[i] / sum(scores.values())) / 2
    return loss / weight.sum()


def embeddings(loss, student, teacher):
    vectors = (loss.student_projector.layers(student), loss.teacher_projector.layers(teacher))
    return [[row / row.square().sum().sqrt() for row in side] for side in vectors]


def assert_equal_with_gradients(loss, value, expected, *inputs):
    inputs = (*inputs, *loss.parameters())
    expected_grads = torch.autograd.grad(expected, inputs)
    grads = torch.autograd.grad(value, inputs)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(grads, expected_grads, rtol=1e-8, atol=1e-12)


def test_scenes_are_contrasted_by_the_formula_with_its_gradient(maps):
    student, teacher, _ = maps
    loss = contrastive(temperature=0.2)
    pooled = (student.mean((2, 3)), teacher.mean((2, 3)))
    one = torch.ones(2, dtype=torch.float64)
    expected = naive_info_nce(*embeddings(loss, *pooled), one, 0.2)
    assert_equal_with_gradients(loss, loss(student, teacher), expected, student)


@pytest.mark.parametrize('masked', [False, True])
def test_cells_are_contrasted_by_the_formula_with_its_gradient(maps, masked):
    student, teacher, mask = maps
    loss = contrastive(temperature=0.2, grid=(2, 2))
    weights = mask if masked else torch.ones_like(mask)
    cells, cell_weights = ([], []), []
    for scene in range(2):
        for row in (slice(0, 2), slice(2, 4)):
            for column in (slice(0, 3), slice(3, 6)):
                where = (scene, slice(None), row, column)
                weight = weights[where]
                cell_weights.append(weight.mean())
                for side, feature in zip(cells, (student, teacher), strict=True):
                    total = weight.sum().clamp(min=1e-9)
                    side.append((feature[where] * weight).sum((1, 2)) / total)
    vectors = embeddings(loss, *(torch.stack(side) for side in cells))
    expected = naive_info_nce(*vectors, torch.stack(cell_weights), 0.2)
    value = loss(student, teacher, mask=mask if masked else None)
    assert_equal_with_gradients(loss, value, expected, student)


def test_matching_cells_agree_better_than_others(maps):
    loss = contrastive(grid=(4, 6), teacher_channels=3)
    loss.teacher_projector.load_state_dict(loss.student_projector.state_dict())
    student = maps[0]
    assert loss(student, student.detach()) < loss(student, student.detach().flip(3))


def test_without_any_weight_the_loss_is_a_zero_with_gradients(maps):
    student, teacher, mask = maps
    loss = contrastive(grid=(2, 2))
    value = loss(student, teacher, mask=torch.zeros_like(mask))
    value.backward()
    assert value == 0
    assert all(p.grad.abs().max() == 0 for p in (student, *loss.parameters()))
    assert contrastive()(student[:0, :, 0, 0], teacher[:0, :, 0, 0]) == 0


def test_the_teacher_gets_no_gradient(maps):
    student, teacher, _ = maps
    for settings in (dict(), dict(grid=(2, 2))):
        contrastive(**settings)(student, teacher.requires_grad_()).backward()
        assert teacher.grad is None and student.grad.abs().sum() > 0


def test_autocast_changes_the_loss_by_rounding_only():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 40, 60), torch.randn(2, 5, 40, 60)
    student, teacher = student.bfloat16().requires_grad_(), teacher.bfloat16()
    loss = contrastive(grid=(4, 6)).float()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(student, teacher)
    value.backward()
    assert student.grad.isfinite().all()
    expected = loss.double()(student.double(), teacher.double())
    torch.testing.assert_close(value.double(), expected, rtol=1e-3, atol=1e-4)


def test_what_does_not_fit_is_refused(maps):
    student, teacher, mask = maps
    with pytest.raises(ValueError, match=r'a grid needs maps \(B, C, H, W\), got .*\(2, 3\)'):
        contrastive(grid=(2, 2))(torch.ones(2, 3), torch.ones(2, 5))
    with pytest.raises(ValueError, match=r'set grid=\(h, w\)'):
        contrastive()(student, teacher, mask=mask)
    with pytest.raises(ValueError, match='student_channels=3'):
        contrastive()(teacher, teacher)
    with pytest.raises(ValueError, match='must be positive'):
        contrastive(temperature=0)


SCRIPT = """
import sys
import torch
from mmengine.registry import MODELS
from torch.nn.parallel import DistributedDataParallel
import mmdistill

# MMEngine's own start-up would choose a CUDA device.
torch.distributed.init_process_group('gloo')
rank, path = torch.distributed.get_rank(), sys.argv[1]
results = []
for case in torch.load(f'{path}/cases.pt'):
    loss = MODELS.build(case['config']).double()
    loss.load_state_dict(case['weights'])
    student, teacher, mask = (
        None if value is None else value.chunk(2)[rank] for value in case['inputs']
    )
    student.requires_grad_()
    wrapped = DistributedDataParallel(loss)
    value = wrapped(student, teacher, mask=mask)
    value.backward()
    grads = {name: p.grad for name, p in loss.named_parameters()}
    results.append(dict(value=value.detach(), grads=grads, student=student.grad))
torch.save(results, f'{path}/rank{rank}.pt')
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def test_two_ranks_have_the_gradient_of_one_process_with_both_batches(tmp_path):
    """Two samples a rank, whole scenes and masked cells: gradients flow through all negatives."""
    torch.manual_seed(0)
    student = torch.randn(4, 3, 4, 6, dtype=torch.float64)
    teacher = torch.randn(4, 5, 4, 6, dtype=torch.float64)
    # More weight on one rank than on the other.
    mask = torch.rand(4, 1, 4, 6, dtype=torch.float64)
    mask[0] = mask[1, :, 2:] = 0
    losses = [contrastive(temperature=0.2), contrastive(temperature=0.2, grid=(2, 2))]
    cases = [
        dict(
            config=dict(
                type='ContrastiveLoss',
                student_channels=3,
                teacher_channels=5,
                embed_dims=4,
                temperature=0.2,
                grid=loss.grid,
            ),
            weights=loss.state_dict(),
            inputs=(student, teacher, mask if loss.grid else None),
        )
        for loss in losses
    ]
    torch.save(cases, tmp_path / 'cases.pt')
    (tmp_path / 'run.py').write_text(SCRIPT)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    command += ['--nproc_per_node=2', str(tmp_path / 'run.py'), str(tmp_path)]
    env = {**os.environ, 'PYTHONPATH': str(ROOT / 'projects'), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]

    for loss, case, *ranks in zip(
        losses, cases, *(torch.load(tmp_path / f'rank{rank}.pt') for rank in (0, 1)), strict=True
    ):
        whole, teacher, mask = case['inputs']
        whole = whole.clone().requires_grad_()
        value = loss(whole, teacher, mask=mask)
        value.backward()
        torch.testing.assert_close(sum(rank['value'] for rank in ranks) / 2, value.detach())
        for name, parameter in loss.named_parameters():
            for rank in ranks:
                torch.testing.assert_close(rank['grads'][name], parameter.grad)
        # DDP does not average the inputs' gradients: they are those of the ranks' sum.
        parts = torch.cat([rank['student'] for rank in ranks]) / 2
        torch.testing.assert_close(parts, whole.grad)
