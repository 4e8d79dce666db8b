"""What query-level CRD contrasts: the object queries of two TransFusion heads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmdistill.contracts import Sampler
from mmdistill.memory.samplers import SAMPLERS, Samples, zero_if_not_finite
from mmdistill.reading import Layer
from mmdistill.reading.address import describe
from mmdistill3d.queries import QueryMatcher, take_queries

FEATURE = 'query_feature'


@MODELS.register_module()
class QuerySampler(Sampler):
    """The teacher's confident queries, and the student's queries of the same objects.

    A query's feature is what a TransFusion head reads box and class from, so this contrasts what
    decides the detection. Queries are matched by what they say (:class:`QueryMatcher`); a pair is a
    sample of its class where both lie within ``max_distance`` and the teacher is confident. Every
    other sample of the batch and of the memory is a negative, also those of the same class.

    Source of the matching: Carion et al., ECCV 2020; of the contrast: Tian et al., ICLR 2020.

    Config lines::

        student='bbox_head[0][0]', teacher='bbox_head[0][0]',
        loss=dict(type='CRDLoss', granularity=dict(type='query'))

    Args:
        num_classes: Number of classes.
        min_confidence: The teacher's score from which on a query is an object.
        max_distance: Distance in metres up to which two queries may be about one object.
        num_queries: Take this many of the teacher's queries, the most confident; default all.
        matcher: Further arguments of the :class:`~mmdistill3d.queries.QueryMatcher`.

    Raises:
        ValueError: ``min_confidence`` is no score, or the matcher's arguments are wrong.
    """

    needs = ('student_model', 'teacher_model')
    joins = 'nothing'

    def __init__(
        self,
        num_classes: int = 10,
        min_confidence: float = 0.1,
        max_distance: float = 2.0,
        num_queries: int | None = None,
        matcher: dict | None = None,
    ) -> None:
        if not 0 <= min_confidence < 1:
            raise ValueError(f'min_confidence is a score in [0, 1), got {min_confidence}')
        self.num_classes, self.min_confidence = num_classes, min_confidence
        self.matcher = QueryMatcher(
            max_distance=max_distance, num_queries=num_queries, **(matcher or {})
        )
        self.columns = self.matcher.columns

    @property
    def memory(self) -> dict:
        """Config of the memory that fits these samples."""
        return dict(type='QueueMemory', num_classes=self.num_classes, negatives='all')

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Find the heads, their ranges and classes."""
        self.matcher.bind(student, teacher, type(self).__name__)

    def bind_classes(self, student: nn.Module, teacher: nn.Module) -> None:
        """Join the classes of the two models."""
        self.matcher.bind_classes(student, teacher, type(self).__name__)

    def embedded(self, student: Layer, teacher: Layer) -> tuple[Layer, Layer]:
        """Return the layers of the queries' features."""
        return _feature_layer(student), _feature_layer(teacher)

    def __call__(
        self, student: Any, teacher: Any, *, student_model: Any = None, teacher_model: Any = None
    ) -> Samples:
        """Return a sample for each chosen query of the teacher; of class -1 where it is no pair.

        Args:
            student: Outputs of the student's head, with ``query_feature`` (B, Cs, P).
            teacher: Outputs of the teacher's head, with ``query_feature`` (B, Ct, Q).
            student_model: The student, for its coder.
            teacher_model: The teacher, for its coder.

        Raises:
            ValueError: An output is missing, or there is no coder.
        """
        mine, theirs = _features(student), _features(teacher)
        matched = self.matcher(student, teacher, student_model, teacher_model)
        mine, mine_is_finite = zero_if_not_finite(take_queries(mine, matched.pairs).flatten(0, 1))
        theirs, theirs_is_finite = zero_if_not_finite(
            take_queries(theirs, matched.chosen).flatten(0, 1).detach()
        )
        is_object = (matched.teacher.confidence > self.min_confidence) & (
            matched.distance < self.matcher.max_distance
        )
        labels = torch.where(is_object, matched.teacher.labels, -1).flatten()
        return Samples(mine, theirs, mine_is_finite & theirs_is_finite, dict(labels=labels))


SAMPLERS['query'] = QuerySampler.__name__


def _features(outputs: Any) -> Tensor:
    """Features of the queries as rows ``(B, P, C)``."""
    if not isinstance(outputs, dict) or FEATURE not in outputs:
        raise ValueError(
            f"expected what a TransFusionHead returns (layer 'bbox_head[0][0]'), with {FEATURE!r}; "
            f'got {describe(outputs)}'
        )
    return outputs[FEATURE].transpose(1, 2)


def _feature_layer(layer: Layer) -> Layer:
    value = None if layer.value is None else _features(layer.value).transpose(1, 2)
    return replace(layer, value=value)
