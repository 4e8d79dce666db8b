"""Object queries of TransFusion heads: read in metres, and matched between two heads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from mmdistill.classes import ClassColumns
from mmdistill.losses.reduce import as_float
from mmdistill.reading import Layer
from mmdistill.reading.address import describe
from mmdistill3d.bev import BEVGrid, constants
from mmdistill3d.classes import demand_same_number, join_classes
from mmdistill3d.heads import LinkedHeads, find_head
from mmdistill3d.reading import same_range

CODER_KEYS = ('pc_range', 'voxel_size', 'out_size_factor')
OUTPUTS = ('center', 'height', 'dim', 'rot', 'heatmap', 'query_heatmap_score')


@dataclass
class Queries:
    """Object queries of a batch; P of each sample.

    Attributes:
        logits: Class logits, ``(B, P, K)``.
        boxes: Boxes in metric form, ``(B, P, 8 or 10)``.
        labels: Class, ``(B, P)``.
        peak: Score of the class heatmap where the query began, ``(B, P)``.
        confidence: Score of the box, ``(B, P)``; 0 where it is not a number.
    """

    logits: Tensor
    boxes: Tensor
    labels: Tensor
    peak: Tensor
    confidence: Tensor

    def __len__(self) -> int:
        return self.logits.shape[1]

    def at(self, index: Tensor) -> Queries:
        """Return the queries at ``index`` (B, Q) of each sample, in that order."""
        return Queries(
            take_queries(self.logits, index),
            take_queries(self.boxes, index),
            self.labels.gather(1, index),
            self.peak.gather(1, index),
            self.confidence.gather(1, index),
        )


@dataclass
class MatchedQueries:
    """Queries of two heads, and which of them are about the same object.

    Attributes:
        student: All queries of the student, with their gradients.
        teacher: The chosen ``Q`` queries of the teacher, the most confident first.
        pairs: The student's query for each of the teacher's, ``(B, Q)``.
        distance: BEV distance of their centres in metres, ``(B, Q)``.
        chosen: Place of the teacher's queries in its outputs, ``(B, Q)``.
        student_coder: ``pc_range``, ``voxel_size`` and ``out_size_factor`` of the student.
    """

    student: Queries
    teacher: Queries
    pairs: Tensor
    distance: Tensor
    chosen: Tensor
    student_coder: dict


def read_queries(outputs: dict[str, Tensor], coder: dict) -> Queries:
    """Read queries out of raw outputs, which are left as they are; gradients pass.

    The score of a box is the class probability times the heatmap's peak, of the query's class
    (``query_labels``; heads that do not return it take the class of the largest product).

    Args:
        outputs: ``center`` ``(B, 2, L * P)`` in cells, ``height``, ``dim`` (logarithms), ``rot``
            (sine, cosine), ``heatmap`` logits, maybe ``vel``; ``query_heatmap_score`` (B, K, P).
        coder: ``pc_range``, ``voxel_size`` and ``out_size_factor``; maybe ``height_of``, which
            is ``'centre'`` or ``'top'``.

    Raises:
        ValueError: An output is missing.
    """
    missing = [key for key in OUTPUTS if not isinstance(outputs, dict) or key not in outputs]
    if missing:
        raise ValueError(
            f"expected the outputs of a TransFusionHead (layer 'bbox_head[0][0]'), got "
            f'{describe(outputs)}, without {missing}'
        )
    number = outputs['query_heatmap_score'].shape[-1]
    last = {
        key: as_float(outputs[key][..., -number:]).transpose(1, 2)
        for key in (*OUTPUTS, 'vel')
        if key in outputs
    }
    center = last['center'] * cell_metres(coder, last['center']) + range_start(
        coder, last['center']
    )
    height = last['height']
    if coder.get('height_of') == 'top':
        height = height - last['dim'][..., 2:3].exp() / 2
    parts = [center, height, last['dim'], last['rot']]
    boxes = torch.cat(parts + ([last['vel']] if 'vel' in last else []), dim=-1)
    peaks = last['query_heatmap_score']
    scores = last['heatmap'].detach().sigmoid() * peaks.detach()
    labels = outputs.get('query_labels')
    labels = scores.argmax(-1) if labels is None else labels.long()
    of_class = labels[..., None]
    return Queries(
        last['heatmap'],
        boxes,
        labels,
        peaks.gather(2, of_class).squeeze(2),
        scores.gather(2, of_class).squeeze(2).nan_to_num(nan=0.0),
    )


def take_queries(values: Tensor, index: Tensor) -> Tensor:
    """Return the rows ``(B, Q, C)`` of ``(B, P, C)`` at ``index`` (B, Q)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


class QueryMatcher:
    r"""Finds the student's query of the object that a query of the teacher is about.

    One to one, by the Hungarian algorithm, which minimises

    .. math:: \sum_{t} c_t\, (\lambda_c |p_{s(t)} - p_t|_1 + \lambda_d \min(d_{s(t), t}, d_{max}))

    with class probabilities ``p``, BEV distance ``d`` of the decoded centres and the teacher's
    confidence ``c``, the score that it would put on the box. Each side is read in metres of its own
    range and cells; queries outside the student's range, or of a class that it has not, have the
    confidence 0. Classes are joined by name where both models tell theirs. Matching waits for the
    device once a step, as label assignment does.

    Source: Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020.

    Args:
        class_cost: :math:`\lambda_c`.
        distance_cost: :math:`\lambda_d`, per metre.
        max_distance: :math:`d_{max}` in metres.
        num_queries: Take this many of the teacher's queries, the most confident; default all, but
            never more than the student has.
        student_coder: ``pc_range``, ``voxel_size`` and ``out_size_factor`` of the student;
            default those of its head's ``bbox_coder``.
        teacher_coder: The same of the teacher.

    Raises:
        ValueError: ``max_distance`` or ``num_queries`` is not positive, or a coder is not whole.
    """

    def __init__(
        self,
        class_cost: float = 1.0,
        distance_cost: float = 1.0,
        max_distance: float = 4.0,
        num_queries: int | None = None,
        student_coder: dict | None = None,
        teacher_coder: dict | None = None,
    ) -> None:
        if max_distance <= 0:
            raise ValueError(f'max_distance is in metres and positive, got {max_distance}')
        if num_queries is not None and num_queries < 1:
            raise ValueError(f'num_queries is at least 1, got {num_queries}')
        self.class_cost, self.distance_cost = class_cost, distance_cost
        self.max_distance, self.num_queries = max_distance, num_queries
        self.student_coder = _coder(student_coder, 'student_coder')
        self.teacher_coder = _coder(teacher_coder, 'teacher_coder')
        self.columns, self.heads = ClassColumns(), LinkedHeads()
        self._student_range: BEVGrid | None = None  # where the teacher's is another

    def bind(self, student: Layer, teacher: Layer, who: str) -> None:
        """Find the heads, compare the ranges, and join the classes where both models name them.

        Args:
            student: The student's layer.
            teacher: The teacher's layer.
            who: Who asks, for errors.

        Raises:
            ValueError: A layer is no TransFusion head, a given coder belongs to another range, or
                the teacher lacks a class.
        """
        what = "what a TransFusionHead returns, 'bbox_head[0][0]'"
        for layer, coder, name in (
            (student, self.student_coder, 'student_coder'),
            (teacher, self.teacher_coder, 'teacher_coder'),
        ):
            start = None if coder is None else list(coder['pc_range'])[:2]
            if coder is not None and layer.range and start != list(layer.range[:2]):
                raise ValueError(
                    f"{name}'s pc_range begins at {start}, and {layer} at {list(layer.range[:2])}"
                )
        if self.student_coder is None and self.teacher_coder is None:
            self.heads.bind(student, teacher, 'bbox_coder', what)
        if student.range and teacher.range and not same_range(student.range, teacher.range):
            self._student_range = BEVGrid(student.range)
        join_classes(self.columns, student.model, teacher.model, who)

    def bind_classes(self, student: nn.Module, teacher: nn.Module, who: str) -> None:
        """Join the classes of the two models, or count them where they have no names."""
        if join_classes(self.columns, student, teacher, who) is None:
            demand_same_number(find_head(student), find_head(teacher))

    def __call__(
        self,
        student: dict[str, Tensor],
        teacher: dict[str, Tensor],
        student_model: Any = None,
        teacher_model: Any = None,
    ) -> MatchedQueries:
        """Match the raw outputs of two heads, of several decoder layers those of the last.

        Raises:
            ValueError: An output is missing, the heads have other classes, or there is no coder.
        """
        mine_coder, their_coder = self._coders(student_model, teacher_model)
        mine = read_queries(student, mine_coder)
        with torch.no_grad():
            theirs = read_queries(
                {key: value.detach() for key, value in teacher.items()}, their_coder
            )
            theirs = self._in_my_terms(theirs)
            _check_classes(mine, theirs)
            chosen = theirs.confidence.topk(
                min(self.num_queries or len(theirs), len(theirs), len(mine)), dim=1
            ).indices
            theirs = theirs.at(chosen)
            pairs, distance = self._match(mine, theirs)
        return MatchedQueries(mine, theirs, pairs, distance, chosen, mine_coder)

    def _coders(self, student_model: Any, teacher_model: Any) -> tuple[dict, dict]:
        """Range and cells of each side."""
        mine, theirs = self.student_coder, self.teacher_coder
        return (
            mine or _coder_of(self.heads.student(student_model), 'student'),
            theirs or _coder_of(self.heads.teacher(teacher_model), 'teacher'),
        )

    def _in_my_terms(self, theirs: Queries) -> Queries:
        """The teacher's queries in the student's classes, and of objects that it can see."""
        confidence = theirs.confidence
        if self._student_range is not None:
            confidence = confidence * self._student_range.contains(theirs.boxes[..., :2])
        if not self.columns.changes:
            return replace(theirs, confidence=confidence)
        labels = self.columns.to_student(theirs.labels)
        return replace(
            theirs,
            logits=self.columns(theirs.logits, dim=-1),
            labels=labels.clamp(min=0),
            confidence=confidence * (labels >= 0),
        )

    def _match(self, mine: Queries, theirs: Queries) -> tuple[Tensor, Tensor]:
        """Return the student's query for each of the teacher's, (B, P), and their distance (m)."""
        distance = (theirs.boxes[:, :, None, :2] - mine.boxes.detach()[:, None, :, :2]).norm(dim=-1)
        cost = self.distance_cost * distance.clamp(max=self.max_distance)
        cost = cost + self.class_cost * torch.cdist(
            theirs.logits.sigmoid(), mine.logits.detach().sigmoid(), p=1
        )
        # Where a few teachers' queries must take what others leave, the confident go first.
        cost = torch.nan_to_num(theirs.confidence[..., None] * cost, nan=1e4, posinf=1e4)
        matched = [linear_sum_assignment(sample)[1] for sample in cost.cpu().numpy()]
        pairs = torch.stack([torch.from_numpy(columns) for columns in matched])
        pairs = pairs.to(distance.device, torch.long, non_blocking=True)
        return pairs, distance.gather(2, pairs[..., None]).squeeze(2)


def _check_classes(mine: Queries, theirs: Queries) -> None:
    if mine.logits.shape[-1] != theirs.logits.shape[-1] or len(mine.logits) != len(theirs.logits):
        raise ValueError(
            f'the student has {mine.logits.shape[-1]} classes in a batch of {len(mine.logits)}, '
            f'the teacher {theirs.logits.shape[-1]} in a batch of {len(theirs.logits)}; both need '
            'one list of classes in one order'
        )


def _coder(config: dict | None, argument: str) -> dict | None:
    if config is None:
        return None
    missing = [key for key in CODER_KEYS if key not in config]
    if missing:
        raise ValueError(f'{argument} needs {list(CODER_KEYS)}; {missing} are missing in {config}')
    return {key: config[key] for key in (*CODER_KEYS, 'height_of') if key in config}


def _coder_of(head: nn.Module, role: str) -> dict:
    coder = getattr(head, 'bbox_coder', None)
    if not all(hasattr(coder, key) for key in CODER_KEYS):
        raise ValueError(
            f"the {role}'s bbox_coder is {type(coder).__name__}, without {CODER_KEYS}; give "
            f'{role}_coder=dict(pc_range=..., voxel_size=..., out_size_factor=...)'
        )
    heights = getattr(coder, 'height_of', 'centre')
    return {**{key: getattr(coder, key) for key in CODER_KEYS}, 'height_of': heights}


def range_start(coder: dict, like: Tensor) -> Tensor:
    """Return the start (x, y) of the range in metres."""
    return constants(coder['pc_range'][:2], like)


def cell_metres(coder: dict, like: Tensor) -> Tensor:
    """Return the size (x, y) of a BEV cell in metres."""
    return constants(coder['voxel_size'][:2], like) * coder['out_size_factor']
