"""On CUDA the published implementation's recorded outputs are reproduced, as on the CPU."""

import copy

import pytest
import torch

from tests.bevfusion.test_golden import compare  # noqa: F401  (the fixture)

pytestmark = pytest.mark.gpu
DEVICE = 'cuda'


@pytest.fixture(autouse=True)
def exact_arithmetic():
    """TF32 rounds to ten bits: far more than the recorded outputs allow."""
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    yield
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed


@pytest.fixture
def adapter(compare):  # noqa: F811
    """The recordings' adapter for a model on the GPU; points and boxes come from the CPU."""

    class CudaAdapter(compare.Adapter):
        def voxelize(self, points):
            return super().voxelize([cloud.to(DEVICE) for cloud in points])

        def instances(self, boxes, labels):
            return super().instances(boxes.to(DEVICE), labels.to(DEVICE))

    return CudaAdapter


@pytest.fixture
def case(compare, build, adapter):  # noqa: F811
    """``case(device)`` -> losses and gradients of the recorded frame with BN statistics fixed."""
    golden = compare.Golden('reduced')
    truth = [
        (
            torch.from_numpy(golden.arr['evalbn/gt0/boxes']),
            torch.from_numpy(golden.arr['evalbn/gt0/labels']).long(),
        )
    ]
    points = torch.from_numpy(compare.np.fromfile(compare.POINTS, 'float32').reshape(-1, 5))
    points[:, 4] = 0

    def run(device, dtype=torch.float32):
        model = build(compare.config('reduced').model)
        compare.fill.fill_(model)
        model = model.to(device).eval()
        kind = adapter if device == DEVICE else compare.Adapter
        with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
            losses = kind(model).loss([points.clone()], copy.deepcopy(truth))
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        gradients = torch.cat([p.grad.flatten().cpu().double() for p in model.parameters()])
        return {name: float(value) for name, value in losses.items()}, gradients

    return run


@pytest.mark.parametrize('recorded', ['eval', 'eval_b2'])
def test_recorded_maps_and_predictions_match_in_single_precision(
    compare,  # noqa: F811
    build,
    adapter,
    recorded,
):
    model = build(compare.config('reduced').model).to(DEVICE)
    assert compare.run('reduced', adapter(model), cases=(recorded,)).ok


def test_losses_and_gradients_are_the_cpus_in_single_precision(case):
    (expected, cpu), (found, cuda) = case('cpu'), case(DEVICE)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    assert (cuda - cpu).norm() < 1e-3 * cpu.norm()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_mixed_precision_stays_near_single_precision(case, dtype):
    (expected, single), (found, mixed) = case(DEVICE), case(DEVICE, dtype)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=0.05, abs=0.02), name
    assert mixed.isfinite().all()
    assert torch.cosine_similarity(mixed, single, dim=0) > 0.9
