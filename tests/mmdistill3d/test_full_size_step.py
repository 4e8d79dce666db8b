"""One distillation step at full size on a real nuScenes sweep."""

import time
from pathlib import Path

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

from mmdistill.analysis import resident_bytes
from mmdistill.distiller import LOSS_PREFIX
from mmdistill3d.analysis.sweeps import load_frame
from tests.mmdistill3d.conftest import load

FRAME = Path('../shared/data/nuscenes/n015-2018-07-24-11-22-45+0800.pkl')


@pytest.mark.slow
def test_a_full_size_student_learns_from_a_full_size_teacher_on_a_real_sweep(
    request, monkeypatch, record_property
):
    monkeypatch.chdir(request.config.rootpath)
    if not FRAME.is_file():
        pytest.skip(f'no real sweep at {FRAME.absolute()}')
    cfg = load('distill/bevfusion_crd.py')
    cfg.model.teacher.update(checkpoint=None, allow_random_weights=True)
    torch.manual_seed(0)
    sample = load_frame(cfg, FRAME)
    assert len(sample['inputs']['points']) > 20_000
    assert len(sample['data_samples'].gt_instances_3d.labels_3d) > 20
    distiller = MODELS.build(cfg.model)
    distiller.init_weights()
    distiller.prepare(num_samples=1)
    distiller.train()
    optimizer = build_optim_wrapper(distiller, cfg.optim_wrapper)
    start = time.perf_counter()

    data = distiller.data_preprocessor(pseudo_collate([sample]), True)
    total, losses = distiller.parse_losses(distiller(**data, mode='loss'))
    optimizer.backward(total)

    linked = {key for key in losses if key.startswith(LOSS_PREFIX)}
    assert linked == {f'{LOSS_PREFIX}{name}' for name in distiller.links}
    assert all(torch.isfinite(value).all() for value in losses.values())
    assert all(float(losses[key]) > 0 for key in linked)
    gradients = {name: p.grad for name, p in distiller.student.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    for layer in (
        'pts_middle_encoder.conv_input.0',
        'pts_backbone.blocks.0.0',
        'pts_neck.deblocks.0.0',
    ):
        assert gradients[f'{layer}.weight'].abs().sum() > 0
    (teacher,) = distiller.teachers.values()
    assert all(p.grad is None for p in teacher.model.parameters())
    before = distiller.student.pts_neck.deblocks[0][0].weight.detach().clone()
    optimizer.step()
    assert not torch.equal(before, distiller.student.pts_neck.deblocks[0][0].weight)
    record_property('seconds', round(time.perf_counter() - start, 1))
    record_property('peak_rss_gib', round(resident_bytes(peak=True) / 2**30, 2))
