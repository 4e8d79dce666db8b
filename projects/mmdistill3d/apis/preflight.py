"""Preflight of 3D detectors: made-up frames, boxes, and a teacher's mAP by centre distance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet3d.models import Base3DDetector
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.utils import center_distance
from nuscenes.eval.detection.algo import accumulate, calc_ap
from nuscenes.eval.detection.data_classes import DetectionBox

from mmdistill.apis.preflight import Domain, Finding, Skip, register_domain
from mmdistill.apis.preflight.findings import failed, ok, warning
from mmdistill.apis.preflight.state import State, find_value, leaf_dataset
from mmdistill3d.examples import example_batch

LOWEST_MAP = 0.05
DISTANCES_M = (0.5, 1.0, 2.0, 4.0)
POINTS_A_SWEEP = 30_000
BOXES = 40


class Detection3D(Domain):
    """Detectors of boxes in space."""

    target = 'a box'

    def applies_to(self, model: Any) -> bool:
        return isinstance(model, Base3DDetector)

    def count_targets(self, sample: Any) -> int | None:
        data = sample.get('data_samples') if isinstance(sample, dict) else None
        truth = getattr(data, 'gt_instances_3d', None)
        return None if truth is None else len(truth)

    def made_up_batch(self, state: State, count: int) -> dict[str, Any]:
        """Clouds that thin out with distance, as large as the training loader's, and boxes."""
        sweeps = 1
        if state.device != 'cpu':  # there, one sweep is enough to wait for
            dataset = leaf_dataset(state.loader('train').get('dataset') or {})
            steps = {step.get('type'): step for step in dataset.get('pipeline') or ()}
            sweeps += steps.get('LoadPointsFromMultiSweeps', {}).get('sweeps_num', 0)
        teachers = [teacher.model for teacher in state.teachers().values()]
        for known in (state.student, *teachers):
            batch = example_batch(known, count, POINTS_A_SWEEP * sweeps, BOXES)
            if batch is not None:
                return batch
        return super().made_up_batch(state, count)

    def measure_accuracy(self, state: State, name: str, model: Any) -> Finding:
        """mAP by centre distance, which needs no whole split; near zero it is a warning."""
        limits = find_value(state.cfg, 'point_cloud_range')
        frames = [_frame(sample, limits) for _, (sample,) in state.predictions(model)]
        if not any(len(frame['truth_labels']) for frame in frames):
            raise Skip('the validation frames have no ground truth')
        score, classes = mean_average_precision(frames)
        text = (
            f'{name}: mAP {score:.3f} by centre distance, {len(frames)} frames, {classes} classes'
        )
        if score >= LOWEST_MAP:
            return ok(text)
        return warning(
            text,
            'Near zero: a stale checkpoint, one of another data set or voxel size, another order '
            'of\nclasses, or sparse kernels in a wrong layout. Evaluate it alone with '
            'tools/test.py before\nyou distil from it.',
        )

    def check_metrics(self, state: State, metrics: Sequence[Any]) -> Iterator[Finding]:
        """nuScenes' metric reads the tables of the version that the data set names."""
        version = state.datasets['val'].metainfo.get('version') if 'val' in state.datasets else None
        for metric in metrics:
            folder = Path(str(getattr(metric, 'data_root', ''))) / str(version)
            if version and type(metric).__name__ == 'NuScenesMetric' and not folder.is_dir():
                found = ', '.join(sorted(path.name for path in folder.parent.glob('v1.0-*')))
                there = found or 'no version'
                yield failed(
                    f'the metric would read {folder}, but {folder.parent} has {there}',
                    'Name the one that is there: --cfg-options '
                    'val_dataloader.dataset.metainfo.version=VERSION\n'
                    'test_dataloader.dataset.metainfo.version=VERSION',
                )


def mean_average_precision(frames: Sequence[Mapping[str, np.ndarray]]) -> tuple[float, int]:
    """nuScenes' mAP over the classes that occur, without its ranges by class.

    Computed by the official devkit, a class at a time, so that any classes will do.

    Source: H. Caesar et al., "nuScenes: A multimodal dataset for autonomous driving", CVPR 2020.

    Args:
        frames: For each ``truth_xy`` (N, 2) in metres and ``truth_labels`` (N,), ``xy`` (M, 2),
            ``labels`` (M,) and ``scores`` (M,).

    Returns:
        The mAP, and how many classes have ground truth.
    """
    present = sorted({label for frame in frames for label in frame['truth_labels'].tolist()})
    values = []
    for label in present:
        truth, found = EvalBoxes(), EvalBoxes()
        for number, frame in enumerate(frames):
            of_class, mine = frame['truth_labels'] == label, frame['labels'] == label
            unscored = np.full(of_class.sum(), -1.0)
            truth.add_boxes(str(number), _boxes(number, frame['truth_xy'][of_class], unscored))
            found.add_boxes(str(number), _boxes(number, frame['xy'][mine], frame['scores'][mine]))
        for distance_m in DISTANCES_M:
            curve = accumulate(truth, found, _ANY_CLASS, center_distance, distance_m)
            values.append(calc_ap(curve, min_recall=0.1, min_precision=0.1))
    return float(np.mean(values)), len(present)


_ANY_CLASS = 'car'  # the devkit's boxes take none but nuScenes' names


def _boxes(frame: int, xy: np.ndarray, scores: np.ndarray) -> list[DetectionBox]:
    return [
        DetectionBox(
            sample_token=str(frame),
            translation=(*centre, 0.0),
            size=(1.0, 1.0, 1.0),
            rotation=(1.0, 0.0, 0.0, 0.0),
            detection_name=_ANY_CLASS,
            detection_score=score,
        )
        for centre, score in zip(xy.tolist(), scores.tolist(), strict=True)
    ]


def _frame(sample: Any, limits: Sequence[float] | None) -> dict[str, np.ndarray]:
    """Ground truth and predictions of one data sample, on the ground, within the range."""
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


register_domain(Detection3D())
