"""Is the teacher any good? Its mAP on a few frames, by centre distance."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate

from tools._preflight.data import some_indices
from tools._preflight.findings import Finding, Skip, ok, warning
from tools._preflight.state import State, find_value

FRAMES = 20
SECONDS = 20.0
LOWEST_MAP = 0.05
DISTANCES_M = (0.5, 1.0, 2.0, 4.0)


def check_accuracy(state: State) -> Iterator[Finding]:
    """Each teacher's mAP on validation frames; near zero it is stale, or of another data set."""
    state.built_model()
    for name, teacher in state.teachers().items():
        if name not in state.has_weights:
            raise Skip(f'the weights of {name} are not there')
        if 'val' not in state.datasets:
            raise Skip('no validation data is there')
        frames = predict_frames(state, teacher.model)
        if not any(len(frame['truth_labels']) for frame in frames):
            raise Skip('the validation frames have no ground truth')
        score, classes = mean_average_precision(frames)
        text = (
            f'{name}: mAP {score:.3f} by centre distance, {len(frames)} frames, {classes} classes'
        )
        if score >= LOWEST_MAP:
            yield ok(text)
            continue
        yield warning(
            text,
            'Near zero: a stale checkpoint, one of another data set or voxel size, another order '
            'of\nclasses, or sparse kernels in a wrong layout. Evaluate it alone with '
            'tools/test.py before\nyou distil from it.',
        )


def predict_frames(state: State, model: Any) -> list[dict[str, np.ndarray]]:
    """Predict validation frames until they are enough, or take too long.

    Returns:
        For each frame ``truth_xy`` (N, 2) in metres and ``truth_labels`` (N,), ``xy`` (M, 2),
        ``labels`` (M,) and ``scores`` (M,); all within the model's range.
    """
    dataset = state.datasets['val']
    model = model.to(state.device).eval()
    frames, start = [], time.perf_counter()
    for index in some_indices(len(dataset), FRAMES - 2):
        with torch.no_grad():
            (sample,) = model.test_step(pseudo_collate([dataset[index]]))
        frames.append(_frame(sample, find_value(state.cfg, 'point_cloud_range')))
        if time.perf_counter() - start > SECONDS:
            break
    return frames


def mean_average_precision(frames: Sequence[Mapping[str, np.ndarray]]) -> tuple[float, int]:
    """nuScenes' mAP over the classes that occur, without its ranges by class.

    A prediction, best score first, takes the nearest free box of its class within the distance.
    Precision above 0.1 is averaged over recalls from 0.11 to 1, and over the distances 0.5, 1, 2
    and 4 m.

    Source: H. Caesar et al., "nuScenes: A multimodal dataset for autonomous driving", CVPR 2020.

    Args:
        frames: As :func:`predict_frames` returns them.

    Returns:
        The mAP, and how many classes have ground truth.
    """
    present = sorted({label for frame in frames for label in frame['truth_labels'].tolist()})
    values = [
        average_precision(frames, label, distance) for label in present for distance in DISTANCES_M
    ]
    return float(np.mean(values)), len(present)


def average_precision(
    frames: Sequence[Mapping[str, np.ndarray]], label: int, distance_m: float
) -> float:
    """nuScenes' AP of one class at one distance."""
    hits, scores = [], []
    total = sum(int((frame['truth_labels'] == label).sum()) for frame in frames)
    for frame in frames:
        mine = frame['labels'] == label
        order = np.argsort(-frame['scores'][mine], kind='stable')
        truth = frame['truth_xy'][frame['truth_labels'] == label]
        hits += _match(frame['xy'][mine][order], truth, distance_m)
        scores += frame['scores'][mine][order].tolist()
    if not any(hits):
        return 0.0
    true = np.cumsum(np.array(hits)[np.argsort(-np.array(scores), kind='stable')])
    precision, recall = true / np.arange(1, len(true) + 1), true / total
    at_recalls = np.interp(np.linspace(0, 1, 101), recall, precision, right=0)
    return float(np.clip(at_recalls[11:] - 0.1, 0, None).mean() / 0.9)


def _match(found: np.ndarray, truth: np.ndarray, distance_m: float) -> list[bool]:
    """Which predictions, best first, take a box."""
    free = np.ones(len(truth), bool)
    hits = []
    for xy in found:
        distances = np.where(free, np.linalg.norm(truth - xy, axis=1), np.inf)
        nearest = int(distances.argmin()) if len(truth) else 0
        hit = bool(len(truth)) and distances[nearest] < distance_m
        if hit:
            free[nearest] = False
        hits.append(bool(hit))
    return hits


def _frame(sample: Any, limits: Sequence[float] | None) -> dict[str, np.ndarray]:
    """Ground truth and predictions of one data sample, on the ground."""
    truth = sample.get('eval_ann_info') or {}
    boxes, labels = truth.get('gt_bboxes_3d'), np.asarray(truth.get('gt_labels_3d', ()))
    truth_xy = _centres(boxes) if len(labels) else np.zeros((0, 2))
    seen = (labels >= 0) & _inside(truth_xy, limits)
    found = sample.pred_instances_3d
    xy = _centres(found.bboxes_3d)
    kept = _inside(xy, limits)
    return {
        'truth_xy': truth_xy[seen],
        'truth_labels': labels[seen],
        'xy': xy[kept],
        'labels': found.labels_3d.cpu().numpy()[kept],
        'scores': found.scores_3d.cpu().numpy()[kept],
    }


def _centres(boxes: Any) -> np.ndarray:
    """(N, 2) centres over the ground in metres; a camera's boxes have them in x and z."""
    axes = [0, 2] if type(boxes).__name__ == 'CameraInstance3DBoxes' else [0, 1]
    return boxes.gravity_center.cpu().numpy()[:, axes].astype(float)


def _inside(xy: np.ndarray, limits: Sequence[float] | None) -> np.ndarray:
    if limits is None:
        return np.ones(len(xy), bool)
    return (xy > np.array(limits[:2])).all(axis=1) & (xy < np.array(limits[3:5])).all(axis=1)
