"""KITTI's average precision without CUDA: overlaps and official rules."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmdet3d.evaluation import kitti_eval
from mmdet3d.evaluation.functional.kitti_utils import eval as official
from numba import cuda

import bevfusion  # noqa: F401  (mends the evaluation)
from bevfusion import bev_box_overlap, d3_box_overlap

CAR = dict(dimensions=[3.9, 1.6, 1.7], location=[0.0, 1.7, 20.0])
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
    assert d3_box_overlap(volume, volume - [0, 1.7, 0, 0, 0, 0, 0]) == 0


def annotations(count, shift=0.0, score=None, **changes):
    """Frames with one car each, ``shift`` metres along its length from where it is."""
    frames = []
    for number in range(count):
        location = np.array([CAR['location']]) + [[shift, 0, 0]]
        frame = dict(
            name=np.array(['Car']),
            truncated=np.zeros(1),
            occluded=np.zeros(1, int),
            alpha=np.zeros(1),
            bbox=np.array([[100.0, 100, 200, 150]]),
            dimensions=np.array([CAR['dimensions']]),
            location=location,
            rotation_y=np.zeros(1),
            score=np.array([1 - number / 1000 if score is None else score]),
        )
        frames.append({**frame, **changes})
    return frames


def car_ap(truth, found, name='3D_AP40_moderate_strict'):
    return kitti_eval(truth, found, ['Car'], eval_types=['bbox', 'bev', '3d'])[1][
        f'KITTI/Car_{name}'
    ]


def test_average_precision_follows_kittis_rules():
    """Worked out by hand: 41 recalls, of which R40 leaves out the first; a car overlaps by 0.7.

    Of n objects that are all found, each gives one threshold of recall k / n, so 100 objects give
    all 41, and 40 objects 40. A length of 3.9 m, moved by d, overlaps by (3.9 - d) / (3.9 + d).
    """
    assert car_ap(annotations(100), annotations(100)) == pytest.approx(100)
    assert car_ap(annotations(40), annotations(40)) == pytest.approx(100 * 39 / 40)
    none = {key: value[:0] for key, value in annotations(1)[0].items()}
    half = annotations(50) + [none] * 50
    assert car_ap(annotations(100), half) == pytest.approx(50, abs=2.5)  # to one recall of 40
    # 0.6 m: 0.733; 0.75 m: 0.677; loosely, 0.5 is enough.
    assert car_ap(annotations(100), annotations(100, shift=0.6)) == pytest.approx(100)
    assert car_ap(annotations(100), annotations(100, shift=0.75)) == 0
    loosely = '3D_AP40_moderate_loose'
    assert car_ap(annotations(100), annotations(100, shift=0.75), loosely) == pytest.approx(100)
    # A false car as sure as the true one halves precision; one beside a Van counts nothing.
    double = [
        {key: np.concatenate([value, other[key]]) for key, value in frame.items()}
        for frame, other in zip(annotations(100), annotations(100, shift=9.0), strict=True)
    ]
    assert car_ap(annotations(100), double) == pytest.approx(50)
    vans = [
        {
            key: np.concatenate([value, np.array(['Van']) if key == 'name' else other[key]])
            for key, value in frame.items()
        }
        for frame, other in zip(annotations(100), annotations(100, shift=9.0), strict=True)
    ]
    assert car_ap(vans, double) == pytest.approx(100)
    # What is hard is not counted among the moderate ones, nor held against them.
    hidden = annotations(100, occluded=np.full(1, 2))
    assert car_ap(hidden, annotations(100)) == 0
    assert car_ap(hidden, annotations(100), '3D_AP40_hard_strict') == pytest.approx(100)
