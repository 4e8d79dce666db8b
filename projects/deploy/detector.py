"""Run an exported LiDAR detector: this file, numpy, onnxruntime and Python 3.10 are all it takes.

    python detector.py cloud.bin                 # beside model.onnx and meta.json

    from detector import Detector
    boxes, scores, labels = Detector('folder of the export')(points)

A cloud is float32, (N, columns); ``meta.json`` names the columns and their order. A box is x, y, z
of its bottom's centre, its sizes along its own x and y and z, its yaw about z from +x to +y, and,
where the detector knows it, its velocity along x and y: metres, radians, metres per second, in the
LiDAR's frame.

What is not in the network's graph stands below, in the order in which it runs: ``Detector`` checks
the cloud and runs the graph; one of ``decode_queries``, ``decode_centers`` and ``decode_anchors``
makes boxes of what comes out; ``circle_nms`` and ``rotated_nms`` drop doubled ones.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime

Boxes = tuple[np.ndarray, np.ndarray, np.ndarray]
MAX_TIME_LAG = 5.0  # seconds; detectors look back half a second


class Detector:
    """An exported detector.

    Args:
        folder: Holds ``meta.json`` and the models that it names.
        threads: Threads of onnxruntime; None leaves the number to it.
        providers: Execution providers of onnxruntime, the first that works is taken.

    Attributes:
        meta: What ``meta.json`` says: classes, range, columns and more.

    Raises:
        FileNotFoundError: The folder holds no finished export.
        ValueError: The export is for another runtime.
    """

    def __init__(
        self,
        folder: str | Path,
        threads: int | None = None,
        providers: tuple[str, ...] = ('CPUExecutionProvider',),
    ) -> None:
        folder = Path(folder)
        if not (folder / 'meta.json').is_file():
            raise FileNotFoundError(f'{folder} has no meta.json; it is no finished export')
        self.meta = json.loads((folder / 'meta.json').read_text())
        if self.meta['form'] not in ('onnx', 'split'):
            raise ValueError(
                f'{folder} was exported for {self.meta["form"]}, which onnxruntime does not run; '
                'export it with --form onnx'
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        self.files = [folder / name for name in self.meta['files']]
        self.sessions = [
            onnxruntime.InferenceSession(str(file), options, providers=list(providers))
            for file in self.files
        ]
        self.outputs = [output.name for output in self.sessions[-1].get_outputs()]
        self.constants = {}
        if 'anchors' in self.outputs:  # the same for every cloud, so they are fetched once
            self.outputs.remove('anchors')
            nothing = np.zeros((0, len(self.meta['point_columns'])), np.float32)
            self.constants['anchors'] = self.run(nothing, ['anchors'])['anchors']

    def __call__(self, points: np.ndarray, score_threshold: float | None = None) -> Boxes:
        """Detect objects.

        Args:
            points: (N, columns); N may be 0, and points outside the range may be among them.
            score_threshold: Boxes below it are left out; None takes the export's own.

        Returns:
            boxes (M, 7 or 9) float32, scores (M,) float32, labels (M,) int64; a label is the
            place of the class in ``meta['classes']``.

        Raises:
            ValueError: The cloud has another number of columns, is no table of numbers, or holds
                something else where the age of points belongs.
        """
        decoding = dict(self.meta['decoding'])
        decode = DECODERS[decoding.pop('type')]
        if score_threshold is not None:
            decoding['score_threshold'] = score_threshold
        return decode({**self.constants, **self.run(self.check(points))}, **decoding)

    def check(self, points: np.ndarray) -> np.ndarray:
        """The cloud as the graph takes it, or a ValueError that says what is wrong."""
        points, columns = np.asarray(points), self.meta['point_columns']
        if points.ndim != 2 or points.shape[1] != len(columns):
            raise ValueError(
                f'the cloud has the shape {points.shape}; expected (N, {len(columns)}) with the '
                f'columns {", ".join(columns)}'
            )
        if points.dtype.kind not in 'fiu':
            raise ValueError(f'the cloud holds {points.dtype}; expected float32')
        check_time_lag(points, columns)
        return np.ascontiguousarray(points, dtype=np.float32)

    def run(self, points: np.ndarray, outputs: list[str] | None = None) -> dict[str, np.ndarray]:
        """What the graph gives for a checked cloud, by the names of its outputs."""
        values = {'points': points}
        for session in self.sessions[:-1]:
            names = [output.name for output in session.get_outputs()]
            values = dict(zip(names, session.run(names, values), strict=True))
        outputs = outputs or self.outputs
        return dict(zip(outputs, self.sessions[-1].run(outputs, values), strict=True))


def check_time_lag(points: np.ndarray, columns: list[str]) -> None:
    """Demand the age of points in seconds where a detector reads it.

    Raises:
        ValueError: Something else is there.
    """
    if 'time_lag' not in columns:
        return
    lag = points[:, columns.index('time_lag')]
    oldest = lag.max(initial=0, where=np.isfinite(lag))
    if oldest > MAX_TIME_LAG:
        raise ValueError(
            f'time_lag goes up to {oldest:g}; it is the age of a point in seconds, 0 in the newest '
            'sweep. A sweep as nuScenes stores it has its ring there: write 0 over it, which '
            '--sweep does'
        )


def decode_queries(
    maps: dict[str, np.ndarray],
    score_threshold: float,
    nms: str | None,
    nms_groups: list[tuple[list[int], float]],
    max_candidates: int | None = None,
    max_kept: int | None = None,
) -> Boxes:
    """Boxes of a TransFusion head, which the graph has decoded already.

    Args:
        maps: ``boxes`` (P, 7 or 9), ``scores`` (P,), ``labels`` (P,), ``in_range`` (P,).
        score_threshold: Scores have to be above it; 0 keeps all.
        nms: None, ``'circle'`` or ``'rotate'``.
        nms_groups: Classes that suppress each other, and their limit: squared metres between
            centres, or overlap. Other classes are not suppressed.
        max_candidates, max_kept: Limits of ``rotated_nms``.
    """
    keep = maps['in_range'].copy()
    if score_threshold:
        keep &= maps['scores'] > score_threshold
    boxes, scores, labels = (maps[name][keep] for name in ('boxes', 'scores', 'labels'))
    kept = np.ones(len(boxes), bool)
    for classes, limit in nms_groups if nms else ():
        group = np.flatnonzero(np.isin(labels, classes))
        kept[group] = False
        if nms == 'circle':
            chosen = circle_nms(boxes[group, :2].astype(np.float64), scores[group], limit, 83)
        else:
            chosen = rotated_nms(boxes[group], scores[group], limit, max_candidates, max_kept)
        kept[group[chosen]] = True
    return boxes[kept], scores[kept], labels[kept]


def decode_centers(
    maps: dict[str, np.ndarray],
    classes_of_tasks: list[list[int]],
    low_m: list[float],
    cell_m: list[float],
    max_boxes: int,
    score_threshold: float | None,
    center_range: list[float],
    final_range: list[float],
    log_sizes: bool,
    nms: str,
    nms_radius: list[float],
    nms_overlap: float,
    nms_score: float,
    max_candidates: int | None,
    max_kept: int | None,
) -> Boxes:
    """Boxes of a CenterPoint head.

    Args:
        maps: For each task t, ``t.heatmap`` (classes, Y, X) logits; ``t.reg`` (2, Y, X) place
            within the cell; ``t.height`` (1, Y, X) z of the centre; ``t.dim`` (3, Y, X);
            ``t.rot`` (2, Y, X) sine and cosine; ``t.vel`` (2, Y, X), maybe absent.
        classes_of_tasks: The labels that each task tells apart.
        low_m: Start (x, y) of the range.
        cell_m: Size (x, y) of a cell.
        max_boxes: Cells of a task that are looked at, the best ones.
        score_threshold: Scores have to be above it; 0 and None keep all.
        center_range, final_range: Lowest and highest (x, y, z) of a box's centre, before and after
            the suppression; empty for no limit.
        log_sizes: ``dim`` are logarithms.
        nms: ``'circle'`` or ``'rotate'``.
        nms_radius: For each task, the squared metres within which centres suppress each other.
        nms_overlap, nms_score: Overlap at which boxes do, and the score from which they take part.
        max_candidates, max_kept: Limits of the suppression.
    """
    results = []
    for task, classes in enumerate(classes_of_tasks):
        own = {name: maps[f'{task}.{name}'] for name in _CENTER_MAPS if f'{task}.{name}' in maps}
        boxes, scores, classes_in_task = _boxes_of_cells(own, max_boxes, low_m, cell_m, log_sizes)
        keep = _within(boxes, center_range)
        if score_threshold:
            keep &= scores > score_threshold
        if nms == 'rotate' and nms_score > 0:
            keep &= scores >= np.float32(nms_score)
        boxes, scores, classes_in_task = boxes[keep], scores[keep], classes_in_task[keep]
        if nms == 'circle':
            chosen = circle_nms(boxes[:, :2], scores, nms_radius[task], max_kept)
        else:
            chosen = rotated_nms(boxes, scores, nms_overlap, max_candidates, max_kept)
        chosen = chosen[_within(boxes[chosen], final_range)]
        boxes = boxes[chosen]
        boxes[:, 2] -= boxes[:, 5] * np.float32(0.5)
        results.append((boxes, scores[chosen], np.asarray(classes)[classes_in_task[chosen]]))
    boxes, scores, labels = (np.concatenate(parts) for parts in zip(*results, strict=True))
    return boxes, scores, labels


def _within(boxes: np.ndarray, limits: list[float]) -> np.ndarray:
    """Whether the places of boxes (N, 7+) lie within lowest and highest (x, y, z)."""
    if not limits:
        return np.ones(len(boxes), bool)
    low, high = np.float32(limits[:3]), np.float32(limits[3:])
    return ((boxes[:, :3] >= low) & (boxes[:, :3] <= high)).all(axis=1)


_CENTER_MAPS = ('heatmap', 'reg', 'height', 'dim', 'rot', 'vel')


def _boxes_of_cells(
    maps: dict[str, np.ndarray],
    number: int,
    low_m: list[float],
    cell_m: list[float],
    log_sizes: bool,
) -> Boxes:
    """The boxes, scores and classes of the best cells of one task; z is that of the centre."""
    heatmap = sigmoid(maps['heatmap'])
    _, _, size_x = heatmap.shape
    best = best_first(heatmap.reshape(-1), number)
    classes, cell = np.divmod(best, heatmap[0].size)
    y, x = np.divmod(cell, size_x)
    at = {name: values.reshape(len(values), -1)[:, cell] for name, values in maps.items()}
    within = at.get('reg', np.full((2, len(cell)), 0.5, np.float32))
    sizes = np.exp(at['dim']) if log_sizes else at['dim']
    columns = [
        (x.astype(np.float32) + within[0]) * np.float32(cell_m[0]) + np.float32(low_m[0]),
        (y.astype(np.float32) + within[1]) * np.float32(cell_m[1]) + np.float32(low_m[1]),
        at['height'][0],
        *sizes,
        np.arctan2(at['rot'][0], at['rot'][1]),
        *at.get('vel', ()),
    ]
    return np.stack(columns, axis=1), heatmap.reshape(-1)[best], classes


def decode_anchors(
    maps: dict[str, np.ndarray],
    score_threshold: float,
    max_anchors: int,
    max_boxes: int,
    nms_overlap: float,
    rotated: bool,
    direction_offset: float,
    direction_limit: float,
) -> Boxes:
    """Boxes of an anchor head.

    Args:
        maps: ``anchors`` (A, 7 or 9), boxes that the network starts from; ``scores`` (A, classes)
            logits; ``deltas`` (A, 7 or 9) what it changes; ``directions`` (A, 2) logits of the two
            ways that a box may face.
        score_threshold: Scores have to be above it.
        max_anchors: Anchors that are looked at, the best ones.
        max_boxes: Most boxes that are returned.
        nms_overlap: Overlap at which boxes of a class suppress each other.
        rotated: Of the boxes as they lie; else as if their yaw were 0.
        direction_offset, direction_limit: Where the two halves of the circle begin.
    """
    scores = sigmoid(maps['scores'])
    directions = maps['directions'].argmax(axis=1)
    anchors, deltas = maps['anchors'], maps['deltas']
    if 0 < max_anchors < len(scores):
        best = best_first(scores.max(axis=1), max_anchors)
        scores, directions, anchors, deltas = (
            values[best] for values in (scores, directions, anchors, deltas)
        )
    boxes = _moved(anchors, deltas)
    flat = boxes.copy()
    if not rotated:
        flat[:, 6] = 0
    chosen, labels = [], []
    for label in range(scores.shape[1]):
        members = np.flatnonzero(scores[:, label] > score_threshold)
        members = members[rotated_nms(flat[members], scores[members, label], nms_overlap)]
        chosen.append(members)
        labels.append(np.full(len(members), label))
    chosen, labels = np.concatenate(chosen), np.concatenate(labels)
    boxes, scores, directions = boxes[chosen], scores[chosen, labels], directions[chosen]
    if len(boxes) > max_boxes:
        best = best_first(scores, max_boxes)
        boxes, scores, labels, directions = (
            values[best] for values in (boxes, scores, labels, directions)
        )
    yaw = boxes[:, 6] - np.float32(direction_offset)
    yaw -= np.floor(yaw / np.float32(np.pi) + np.float32(direction_limit)) * np.float32(np.pi)
    half_turns = np.float32(np.pi) * directions.astype(np.float32)
    boxes[:, 6] = yaw + np.float32(direction_offset) + half_turns
    return boxes, scores, labels


def _moved(anchors: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """Anchors changed by what the network says; both have z at the bottom."""
    boxes = np.empty_like(anchors)
    diagonal = np.sqrt(anchors[:, 3] ** 2 + anchors[:, 4] ** 2)
    boxes[:, :2] = deltas[:, :2] * diagonal[:, None] + anchors[:, :2]
    boxes[:, 3:6] = np.exp(deltas[:, 3:6]) * anchors[:, 3:6]
    middle = deltas[:, 2] * anchors[:, 5] + (anchors[:, 2] + anchors[:, 5] / 2)
    boxes[:, 2] = middle - boxes[:, 5] / 2
    boxes[:, 6:] = deltas[:, 6:] + anchors[:, 6:]
    return boxes


def circle_nms(
    centers: np.ndarray, scores: np.ndarray, max_squared_distance: float, max_kept: int | None
) -> np.ndarray:
    """Which boxes have no better one within a distance, the best first.

    Args:
        centers: (N, 2) metres.
        scores: (N,).
        max_squared_distance: Squared metres.
        max_kept: How many are returned at most.
    """
    order = best_first(scores)
    alive, kept = np.ones(len(order), bool), []
    for place, index in enumerate(order):
        if alive[place]:
            kept.append(index)
            distance = ((centers[order] - centers[index]) ** 2).sum(axis=1)
            alive &= distance > max_squared_distance
    return np.asarray(kept[:max_kept], np.int64)


def rotated_nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    max_overlap: float,
    max_candidates: int | None = None,
    max_kept: int | None = None,
) -> np.ndarray:
    """Which boxes, seen from above, do not overlap a better one, the best first.

    Args:
        boxes: (N, 7+).
        scores: (N,).
        max_overlap: Intersection over union.
        max_candidates: How many boxes take part, the best ones.
        max_kept: How many are returned at most.
    """
    order = best_first(scores, max_candidates)
    flat = boxes[order][:, [0, 1, 3, 4, 6]].astype(np.float64)
    areas, reach = flat[:, 2] * flat[:, 3], np.hypot(flat[:, 2], flat[:, 3]) / 2
    alive, kept = np.ones(len(order), bool), []
    for place in range(len(order)):
        if not alive[place]:
            continue
        kept.append(order[place])
        distance = np.hypot(*(flat[:, :2] - flat[place, :2]).T)
        near = np.flatnonzero(alive & (distance < reach + reach[place]))
        near = near[near > place]
        if len(near):
            shared = intersections(flat[place], flat[near])
            overlap = shared / (areas[place] + areas[near] - shared)
            alive[near[overlap > max_overlap]] = False
    return np.asarray(kept[:max_kept], np.int64)


def intersections(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Areas that a rectangle shares with others.

    The corners of the shared polygon are corners of one rectangle that lie in the other, and
    points where two sides cross. Sorted by their angle about their middle they give its area.

    Args:
        box: (5,) x, y, sizes, yaw.
        others: (N, 5).

    Returns:
        (N,) in squared metres.
    """
    ours, theirs = _corners(box[None]), _corners(others)
    ours = np.broadcast_to(ours, theirs.shape)
    crossings, cross = _crossings(ours, theirs)
    points = np.concatenate([ours, theirs, crossings], axis=1)
    valid = np.concatenate(
        [_inside(ours, others), _inside(theirs, np.broadcast_to(box, others.shape)), cross], axis=1
    )
    middle = (points * valid[..., None]).sum(1) / np.maximum(valid.sum(1), 1)[:, None]
    points = np.where(valid[..., None], points - middle[:, None], 0)
    angle = np.where(valid, np.arctan2(points[..., 1], points[..., 0]), np.inf)
    order = angle.argsort(axis=1)
    points = np.take_along_axis(points, order[..., None], axis=1)
    valid = np.take_along_axis(valid, order, axis=1)
    # What is no corner becomes the first one, which closes the polygon and adds no area.
    points = np.where(valid[..., None], points, points[:, :1])
    after = np.roll(points, -1, axis=1)
    return np.abs((points[..., 0] * after[..., 1] - points[..., 1] * after[..., 0]).sum(1)) / 2


def _corners(boxes: np.ndarray) -> np.ndarray:
    """Corners (N, 4, 2) of rectangles (N, 5), one after the other."""
    signs = np.array([[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]])
    own = signs * boxes[:, None, 2:4]
    cos, sin = np.cos(boxes[:, 4:5]), np.sin(boxes[:, 4:5])
    x, y = own[..., 0] * cos - own[..., 1] * sin, own[..., 0] * sin + own[..., 1] * cos
    return np.stack([x, y], axis=2) + boxes[:, None, :2]


def _inside(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether points (N, P, 2) lie in rectangles (N, 5)."""
    away = points - boxes[:, None, :2]
    cos, sin = np.cos(boxes[:, 4:5]), np.sin(boxes[:, 4:5])
    x, y = away[..., 0] * cos + away[..., 1] * sin, away[..., 1] * cos - away[..., 0] * sin
    limit = boxes[:, None, 2:4] / 2 + 1e-7
    return (np.abs(x) <= limit[..., 0]) & (np.abs(y) <= limit[..., 1])


def _crossings(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the sides of polygons (N, 4, 2) cross, (N, 16, 2), and whether they do, (N, 16)."""
    start, along = ours[:, :, None], (np.roll(ours, -1, axis=1) - ours)[:, :, None]
    other, across = theirs[:, None], (np.roll(theirs, -1, axis=1) - theirs)[:, None]
    apart = other - start
    cross = along[..., 0] * across[..., 1] - along[..., 1] * across[..., 0]
    parallel = np.abs(cross) < 1e-12
    scale = np.where(parallel, 1, cross)
    t = (apart[..., 0] * across[..., 1] - apart[..., 1] * across[..., 0]) / scale
    u = (apart[..., 0] * along[..., 1] - apart[..., 1] * along[..., 0]) / scale
    hit = ~parallel & (t >= 0) & (t <= 1) & (u >= 0) & (u <= 1)
    return (start + t[..., None] * along).reshape(len(ours), 16, 2), hit.reshape(len(ours), 16)


def best_first(scores: np.ndarray, number: int | None = None) -> np.ndarray:
    """Places of the highest scores; of equal ones the first comes first."""
    if number is not None and number < len(scores):
        limit = np.partition(scores, len(scores) - number)[len(scores) - number]
        places = np.flatnonzero(scores >= limit)
        return places[np.argsort(-scores[places], kind='stable')][:number]
    return np.argsort(-scores, kind='stable')


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), for any x."""
    return (1 / (1 + np.exp(-np.clip(x, -80, 80)))).astype(np.float32)


DECODERS = {
    'queries': decode_queries,
    'centers': decode_centers,
    'anchors': decode_anchors,
}


def main() -> None:
    parser = argparse.ArgumentParser(description='Detect objects in a LiDAR cloud.')
    parser.add_argument('cloud', type=Path, help='float32 numbers, one point after the other')
    parser.add_argument(
        '--sweep', action='store_true', help='it is one sweep, whose points are all of age 0'
    )
    parser.add_argument('--folder', type=Path, default=Path(__file__).parent, help='of the export')
    parser.add_argument('--score', type=float, default=0.3, help='lowest score that is printed')
    parser.add_argument('--threads', type=int, help='of onnxruntime')
    args = parser.parse_args()
    try:
        detector = Detector(args.folder, threads=args.threads)
        columns = detector.meta['point_columns']
        numbers = np.fromfile(args.cloud, np.float32)
        if len(numbers) % len(columns):
            raise ValueError(
                f'{args.cloud} has {len(numbers)} numbers, which are no points of {len(columns)}: '
                f'{", ".join(columns)}'
            )
        points = numbers.reshape(-1, len(columns))
        if args.sweep and 'time_lag' in columns:
            points[:, columns.index('time_lag')] = 0
        boxes, scores, labels = detector(points, args.score)
    except (FileNotFoundError, ValueError) as error:
        parser.exit(1, f'{type(error).__name__}: {error}\n')
    for box, score, label in zip(boxes, scores, labels, strict=True):
        numbers = ' '.join(f'{number:8.2f}' for number in box)
        print(f'{detector.meta["classes"][label]:22s} {score:.3f} {numbers}')


if __name__ == '__main__':
    main()
