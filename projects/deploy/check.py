"""Torch and an export side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from deploy.detector import Boxes, Detector

BOX_BAR_M = 1e-3
SCORE_BAR = 1e-5
LAYER_BAR = 1e-4
LAYER_BAR_RELATIVE = 5e-5  # of the largest value, where that allows more
_DRIFT_TOP, _DRIFT_M, _DRIFT_BAR = 20, 0.5, 0.6


class ExportDisagrees(ValueError):
    """An export does not do what torch does; ``layer`` is the first that differs."""

    def __init__(self, layer: str, text: str) -> None:
        super().__init__(f'the export differs from torch, first in {layer}: {text}')
        self.layer = layer


@dataclass(frozen=True)
class Match:
    """How two sets of boxes agree.

    Args:
        pairs: (K, 2) places of boxes that belong together, in the first set and in the second.
        box_error: Largest difference of their numbers; of yaws modulo a full turn.
        score_error: Largest difference of their scores.
    """

    pairs: np.ndarray
    box_error: float
    score_error: float


def match_boxes(first: Boxes, second: Boxes, box_bar: float, score_bar: float) -> Match:
    """Pair the boxes of two sets, whatever their order: same label, numbers within the bars.

    Numbers beyond a kilometre, which untrained networks give, may differ by a millionth.
    """
    apart = np.abs(_differences(first[0], second[0]))
    apart /= np.maximum(1, np.abs(first[0][:, None]) / 1000)
    difference = apart.max(axis=2, initial=0)
    scores = np.abs(first[1][:, None] - second[1][None])
    fits = (first[2][:, None] == second[2][None]) & (difference <= box_bar) & (scores <= score_bar)
    cost = np.where(fits, difference, np.inf)
    pairs = []
    for row in range(len(cost)):
        column = cost[row].argmin() if cost.shape[1] else -1
        if column >= 0 and np.isfinite(cost[row, column]):
            pairs.append((row, column))
            cost[:, column] = np.inf
    pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
    rows, columns = pairs.T
    return Match(
        pairs,
        float(difference[rows, columns].max(initial=0)),
        float(scores[rows, columns].max(initial=0)),
    )


def check_export(
    folder: Path,
    layers: dict[str, str],
    detector: nn.Module,
    family: ModuleType,
    clouds: Sequence[np.ndarray],
) -> dict[str, Any]:
    """Run a float32 export and torch on the same clouds.

    Args:
        folder: Of the export.
        layers: Name of a layer -> name of its tensor in the export.
        detector: The detector in eval mode, on the CPU.
        family: :mod:`deploy.bevfusion` or :mod:`deploy.pillars`.
        clouds: (N, columns) float32 each.

    Returns:
        ``frames``, ``boxes`` compared, ``box_error``, ``score_error``; ``undecided``, frames whose
        boxes differ because equal scores leave it open which there are; and ``layers``: largest
        error of each. Voxel cells are equal, or it is an error.

    Raises:
        ExportDisagrees: Something differs by more than the bars of this module.
    """
    runtime = Detector(folder, threads=1)
    inspector = _Inspector(folder, runtime.meta['files'], layers)
    errors: dict[str, float] = {}
    compared, undecided, box_error, score_error = 0, 0, 0.0, 0.0
    for cloud in clouds:
        wanted = family.torch_layers(detector, cloud)
        got = inspector.run(cloud)
        for name in (name for name in wanted if name in got):
            errors[name] = max(errors.get(name, 0.0), _layer_error(name, wanted[name], got[name]))
        match, is_undecided = _compare_boxes(detector, family, runtime, cloud)
        compared += len(match.pairs)
        undecided += is_undecided
        box_error, score_error = (
            max(box_error, match.box_error),
            max(score_error, match.score_error),
        )
    return dict(
        frames=len(clouds),
        boxes=compared,
        undecided=undecided,
        box_error=box_error,
        score_error=score_error,
        cells='equal',
        layers={name: error for name, error in errors.items() if name != 'cells'},
    )


def measure_drift(
    folder: Path, detector: nn.Module, clouds: Sequence[np.ndarray]
) -> dict[str, Any]:
    """How far an export of lower precision is from torch.

    Returns:
        ``frames``; ``found``, the share of torch's 20 best boxes of each frame that have a box of
        their class within 0.5 m; of those, mean distance ``center_error`` in metres and mean
        difference ``score_error``.

    Raises:
        ExportDisagrees: Less than 60 % are found, as when a conversion has broken the peak test.
    """
    runtime = Detector(folder, threads=1)
    distances, differences, total = [], [], 0
    for cloud in clouds:
        boxes, scores, labels = predict(detector, cloud)
        best = np.argsort(-scores, kind='stable')[:_DRIFT_TOP]
        got_boxes, got_scores, got_labels = runtime(cloud)
        total += len(best)
        for place in best:
            away = np.hypot(*(got_boxes[:, :2] - boxes[place, :2]).T)
            away = np.where(got_labels == labels[place], away, np.inf)
            if len(away) and away.min() < _DRIFT_M:
                distances.append(float(away.min()))
                differences.append(float(abs(got_scores[away.argmin()] - scores[place])))
    found = len(distances) / max(total, 1)
    if total and found < _DRIFT_BAR:
        raise ExportDisagrees(
            'the boxes', f'{found:.0%} of the best {total} have one of their class within 0.5 m'
        )
    return dict(
        frames=len(clouds),
        found=found,
        center_error=float(np.mean(distances or [0])),
        score_error=float(np.mean(differences or [0])),
    )


@torch.no_grad()
def predict(detector: nn.Module, cloud: np.ndarray) -> Boxes:
    """Boxes (N, 7 or 9), scores and labels of a detector's own ``test_step``."""
    from mmdet3d.structures import Box3DMode, Det3DDataSample, LiDARInstance3DBoxes

    metainfo = dict(box_type_3d=LiDARInstance3DBoxes, box_mode_3d=Box3DMode.LIDAR)
    batch = dict(
        inputs=dict(points=[torch.from_numpy(cloud)]),
        data_samples=[Det3DDataSample(metainfo=metainfo)],
    )
    found = detector.test_step(batch)[0].pred_instances_3d
    return (
        found.bboxes_3d.tensor.numpy(),
        found.scores_3d.numpy(),
        found.labels_3d.numpy().astype(np.int64),
    )


class _Inspector:
    """Runs an export with the tensors of its layers as outputs."""

    def __init__(self, folder: Path, files: Sequence[str], layers: dict[str, str]) -> None:
        self._sessions = []
        for file in files:
            model = onnx.load(folder / file)
            names = {name for node in model.graph.node for name in node.output}
            own = {layer: tensor for layer, tensor in layers.items() if tensor in names}
            there = {output.name for output in model.graph.output}
            for tensor in sorted(set(own.values()) - there):
                model.graph.output.append(onnx.ValueInfoProto(name=tensor))
            outputs = sorted(there)
            session = onnxruntime.InferenceSession(model.SerializeToString(), quiet_options())
            self._sessions.append((session, outputs, own))

    def run(self, cloud: np.ndarray) -> dict[str, np.ndarray]:
        values, layers = {'points': cloud}, {}
        for session, outputs, own in self._sessions:
            names = sorted({*outputs, *own.values()})
            got = dict(zip(names, session.run(names, values), strict=True))
            layers.update({layer: got[tensor] for layer, tensor in own.items()})
            values = {name: got[name] for name in outputs}
        return layers


def quiet_options() -> onnxruntime.SessionOptions:
    """One thread, and no advice in the log."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return options


def _layer_error(name: str, wanted: np.ndarray, got: np.ndarray) -> float:
    if wanted.shape != got.shape:
        raise ExportDisagrees(name, f'torch gives the shape {wanted.shape}, the export {got.shape}')
    if wanted.dtype.kind in 'ib':
        different = int((wanted != got).sum())
        if different:
            raise ExportDisagrees(name, f'{different} of {wanted.size} entries differ')
        return 0.0
    error = float(np.abs(wanted - got).max(initial=0))
    largest = float(np.abs(wanted).max(initial=0))
    if not error <= max(LAYER_BAR, LAYER_BAR_RELATIVE * largest):
        raise ExportDisagrees(name, f'the largest error is {error:.2e}, of values to {largest:.2g}')
    return error


def _compare_boxes(
    detector: nn.Module, family: ModuleType, runtime: Detector, cloud: np.ndarray
) -> tuple[Match, bool]:
    """Boxes of both as sets; the match, and whether it lacks some for want of a decision."""
    wanted, got = predict(detector, cloud), runtime(cloud)
    match = match_boxes(wanted, got, BOX_BAR_M, SCORE_BAR)
    lost = np.setdiff1d(np.arange(len(wanted[0])), match.pairs[:, 0])
    added = len(got[0]) - len(match.pairs)
    if len(lost) or added:
        # Among equal scores at the end of the list of the best cells, either may take any.
        excused = family.undecided(detector, cloud, wanted)
        if not excused[lost].all() or added > excused.sum():
            raise ExportDisagrees(
                'the boxes',
                f"{len(lost)} of torch's {len(wanted[0])} boxes have no like, {added} of the "
                f"export's {len(got[0])} (same class, {BOX_BAR_M} m, score {SCORE_BAR})"
                f'{_nearest(wanted, got, lost)}',
            )
    return match, bool(len(lost) or added)


def _nearest(wanted: Boxes, got: Boxes, lost: np.ndarray) -> str:
    """How far the first lost box is from the nearest of its class."""
    if not len(lost):
        return ''
    boxes, scores, labels = (values[lost[0]] for values in wanted)
    same = np.flatnonzero(got[2] == labels)
    if not len(same):
        return f'; the first, of class {labels}, has none of its class'
    apart = np.abs(_differences(boxes[None], got[0][same])[0]).max(axis=1)
    nearest = same[apart.argmin()]
    return (
        f'; the first, of class {labels} and score {scores:.6f}, has its nearest '
        f'{apart.min():.2g} away, with score {got[1][nearest]:.6f}'
    )


def _differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Differences (N, M, numbers) of boxes; of yaws the shorter way round."""
    difference = first[:, None].astype(np.float64) - second[None]
    difference[..., 6] = (difference[..., 6] + np.pi) % (2 * np.pi) - np.pi
    return difference
