"""KITTI's average precision without CUDA: the overlaps of boxes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmdet3d.evaluation.functional.kitti_utils import eval as official
from numba import cuda

from bevfusion import bev_box_overlap, d3_box_overlap

pytestmark = pytest.mark.skipif(cuda.is_available(), reason="MMDetection3D's kernels run here")


def made_up_boxes():
    """Boxes (24, 5) and others that meet them: moved, turned, and a crowd of strangers."""
    rng = np.random.default_rng(0)
    boxes = np.column_stack(
        [rng.uniform(0, 12, (24, 2)), rng.uniform(0.6, 4.5, (24, 2)), rng.uniform(-3.2, 3.2, 24)]
    )
    others = boxes + rng.normal(0, 0.2, boxes.shape)
    others[:, 2:4] = others[:, 2:4].clip(0.5)
    return boxes, others


def test_overlaps_are_those_of_the_official_kernel(tmp_path):
    """The kernel itself, by numba's simulator of CUDA, in a process that has it switched on."""
    file = Path(official.__file__).parent / 'rotate_iou.py'
    boxes, others = made_up_boxes()
    np.savez(tmp_path / 'boxes.npz', boxes=boxes, others=others)
    script = f"""
import runpy
import numpy as np
kernel = runpy.run_path({str(file)!r})['rotate_iou_gpu_eval']
boxes = np.load('boxes.npz')
found = {{str(c): kernel(boxes['boxes'], boxes['others'], c) for c in (-1, 0, 1, 2)}}
np.savez('overlaps.npz', **found)
"""
    env = {**os.environ, 'NUMBA_ENABLE_CUDASIM': '1'}
    subprocess.run([sys.executable, '-c', script], cwd=tmp_path, env=env, check=True)
    found = np.load(tmp_path / 'overlaps.npz')
    assert (np.diag(found['-1']) > 0.2).all()
    for criterion in (-1, 0, 1, 2):
        ours = bev_box_overlap(boxes, others, criterion)
        np.testing.assert_allclose(ours, found[str(criterion)], atol=1e-4)


def test_overlaps_of_equal_and_of_far_boxes():
    """Where the official kernel, in single precision, may go wrong."""
    boxes, _ = made_up_boxes()
    turned = boxes + [0, 0, 0, 0, np.pi]
    np.testing.assert_allclose(np.diag(bev_box_overlap(boxes, turned)), 1)
    assert (bev_box_overlap(boxes, boxes + [50, 0, 0, 0, 0]) == 0).all()
    assert bev_box_overlap(boxes[:0], boxes).shape == (0, 24)
    volume = np.array([[0.0, 1.7, 20.0, 4.0, 2.0, 1.0, 0.3]])
    raised = volume - [0, 0.5, 0, 0, 0, 0, 0]  # y points down
    np.testing.assert_allclose(d3_box_overlap(volume, volume), 1)
    np.testing.assert_allclose(d3_box_overlap(volume, raised), 1.5 / 2.5)
    assert d3_box_overlap(volume, volume - [0, 2.1, 0, 0, 0, 0, 0]) == 0
