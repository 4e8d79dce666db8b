"""Contrastive losses between objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine import dist
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from mmdistill.losses.embedding import EmbeddingLoss
from mmdistill.losses.infonce import GatherWithGradient
from mmdistill.losses.reduce import divide
from mmdistill.reading import Layer
from mmdistill3d.grids import TEACHER, MapGrid
from mmdistill3d.instances import annotated, are_objects, boxes_of
from mmdistill3d.losses.relational import check_bev_maps
from mmdistill3d.roi import roi_features

SAME_CLASS = ('negative', 'ignore')
_IGNORED = -100


@MODELS.register_module()
class ObjectContrastLoss(EmbeddingLoss):
    r"""An object looks to the student as it does to the teacher, and unlike the other objects.

    Both maps are sampled at points of each annotated box and projected to embeddings of unit length
    :math:`s_i, t_i`. The loss is the symmetric InfoNCE over the objects of the batch: the mean over
    ``i`` of

    .. math:: -\frac12 \left( \log \frac{e^{s_i t_i / T}}{\sum_{j \in N_i} e^{s_i t_j / T}}
              + \log \frac{e^{s_i t_i / T}}{\sum_{j \in N_i} e^{s_j t_i / T}} \right)

    where :math:`N_i` holds ``i`` and the objects that count as its negatives. A scene has dozens of
    objects, so that small batches of scenes still have many negatives.

    Source: van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018,
    in the symmetric form of Radford et al., ICML 2021; over objects, and without those of one
    class, as the negatives of Tian et al., "Contrastive Representation Distillation", ICLR 2020.

    Takes: BEV maps (B, C, H, W), sizes may differ; annotated boxes and labels.

    Config lines::

        neck_objects=dict(
            student='pts_neck[0]', teacher='pts_neck[0]',
            loss=dict(type='ObjectContrastLoss'))

    Args:
        student_channels: Channels of the student's map; read from the layer.
        teacher_channels: Channels of the teacher's map; read from the layer.
        point_cloud_range: Range of the student's map in metres; default what the student says
            (:class:`~mmdistill3d.grids.MapGrid`).
        size: ``(n, m)`` points along the length and the width of a box; the projector pools them.
        expand: Factor of length and width.
        embed_dims: Size of the embeddings.
        projector: Config of the projectors, without channels; default a pooled linear
            :class:`~mmdistill.connectors.MLPProjector`. Both are trained.
        temperature: ``T``.
        same_class: ``'ignore'`` leaves objects of the class of ``i`` out of :math:`N_i`, so that no
            car is pushed away from the other cars; ``'negative'`` keeps them.
        gather: Take the other ranks' objects as further negatives; the mean is then over all ranks'
            objects, and the gradient of DDP that of one process with the whole batch. Ranks have
            unequal numbers of objects, so this waits for the device once a step.
        axes: Order of the student map's axes, likewise.
        teacher_axes: The same for the teacher; default what the teacher says.
        loss_weight: Factor of the loss.
    """

    needs = ('data_samples',)
    joins = 'nothing'

    def __init__(
        self,
        student_channels: int | None = None,
        teacher_channels: int | None = None,
        point_cloud_range: Sequence[float] | None = None,
        size: tuple[int, int] = (3, 3),
        expand: float = 1.0,
        embed_dims: int = 128,
        projector: dict | None = None,
        temperature: float = 0.07,
        same_class: str = 'negative',
        gather: bool = False,
        axes: str | None = None,
        teacher_axes: str | None = None,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        if temperature <= 0:
            raise ValueError(f'temperature must be positive, got {temperature}')
        if same_class not in SAME_CLASS:
            raise ValueError(f'same_class is one of {SAME_CLASS}, not {same_class!r}')
        super().__init__(embed_dims, projector, loss_weight, init_cfg)
        self.grid = MapGrid(point_cloud_range, axes)
        self.teacher_grid = MapGrid(axes=teacher_axes, like=self.grid, arguments=TEACHER)
        self.size, self.expand = tuple(size), expand
        self.temperature, self.same_class = temperature, same_class
        self.gather = gather
        self.take_widths(student_channels=student_channels, teacher_channels=teacher_channels)

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Read the widths and the grids of both maps."""
        super().bind(student, teacher)
        self.grid.bind(student)
        self.teacher_grid.bind(teacher)

    def forward(self, student: Tensor, teacher: Tensor, *, data_samples: list | None) -> Tensor:
        """Return the loss of two maps; zero without boxes. Boxes without size do not count.

        Args:
            student: ``(B, Cs, H, W)``.
            teacher: ``(B, Ct, H', W')``.
            data_samples: Samples with ``gt_instances_3d``: ``bboxes_3d`` and ``labels_3d``.

        Raises:
            ValueError: A feature is no map or has other channels, or there are no annotations.
        """
        check_bev_maps(student, teacher)
        instances = annotated(data_samples, len(student))
        boxes = boxes_of(instances)
        labels = torch.cat([item.labels_3d for item in instances]).to(student.device)
        present = torch.cat([are_objects(item.bboxes_3d.tensor) for item in instances])
        with torch.autocast(student.device.type, enabled=False):
            mine = roi_features(student, boxes, self.grid(), self.size, self.expand)
            theirs = roi_features(
                teacher.detach(), boxes, self.teacher_grid(), self.size, self.expand
            )
            return self.loss_weight * self._contrast(
                *self.embed(mine, theirs), labels, present.to(student.device)
            )

    def _contrast(
        self, student: Tensor, teacher: Tensor, labels: Tensor, present: Tensor
    ) -> Tensor:
        """InfoNCE of embeddings ``(N, D)``; the sum of nothing is a zero with gradients."""
        first, ranks, every = 0, 1, _Objects(student, teacher, labels, present)
        if self.gather and dist.get_world_size() > 1:
            counts = dist.all_gather(torch.tensor(len(student), device=student.device))
            counts = [int(count) for count in counts]
            first, ranks = sum(counts[: dist.get_rank()]), len(counts)
            every = _gather(every, counts)
        own = torch.arange(first, first + len(student), device=student.device)
        excluded = ~every.present[None]
        if self.same_class == 'ignore':
            excluded = excluded | (labels[:, None] == every.labels)
        excluded = excluded.expand(len(own), -1).scatter(1, own[:, None], False)
        target = torch.where(present, own, _IGNORED)
        total = student.new_zeros(())
        for anchors, others in ((student, every.teacher), (teacher, every.student)):
            logits = anchors @ others.T / self.temperature
            logits = logits.masked_fill(excluded, -torch.inf)
            total = total + F.cross_entropy(logits, target, reduction='sum', ignore_index=_IGNORED)
        return divide(total, 2 * every.present.sum() / ranks)


class _Objects(NamedTuple):
    """Objects of a batch, of this rank or of all."""

    student: Tensor  # (N, D)
    teacher: Tensor  # (N, D)
    labels: Tensor  # (N,)
    present: Tensor  # (N,); a box without size is no object


def _gather(own: _Objects, counts: list[int]) -> _Objects:
    """Concatenate the ranks' objects, of which each has ``counts``; gradients return to each."""
    most = max(counts)
    if most == 0:
        return own
    missing = most - len(own.labels)
    embeddings = F.pad(torch.stack([own.student, own.teacher]), (0, 0, 0, missing))
    keys = F.pad(torch.stack([own.labels, own.present.to(own.labels)], 1), (0, 0, 0, missing))
    rows = torch.cat([torch.arange(count) + rank * most for rank, count in enumerate(counts)])
    rows = rows.to(keys.device)
    labels, present = torch.cat(dist.all_gather(keys))[rows].unbind(1)
    return _Objects(*GatherWithGradient.apply(embeddings)[:, rows], labels, present > 0)
