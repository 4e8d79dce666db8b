"""InfoNCE: a sample's student and teacher agree, and differ from the batch's other samples."""

from __future__ import annotations

from typing import Any

import torch
from mmengine import dist
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from mmdistill.losses.embedding import EmbeddingLoss
from mmdistill.losses.items import take_items
from mmdistill.losses.reduce import divide
from mmdistill.reading.address import describe


@MODELS.register_module()
class ContrastiveLoss(EmbeddingLoss):
    r"""Symmetric InfoNCE between the student's and the teacher's embeddings of a batch.

    With embeddings :math:`s_i, t_i` of unit length of all samples of the batch, on all ranks:

    .. math::
        L = -\frac{1}{2}\, \mathrm{mean}_i \left[
            \log \frac{e^{\langle s_i, t_i \rangle / T}}{\sum_j e^{\langle s_i, t_j \rangle / T}}
          + \log \frac{e^{\langle t_i, s_i \rangle / T}}{\sum_j e^{\langle t_i, s_j \rangle / T}}
          \right]

    Gathered embeddings keep their gradients: what a sample is to other ranks' samples moves it,
    too, and the gradient of DDP is that of one process with the whole batch. The loss starts
    near ``ln(number of samples)``.

    With a mask, which needs a grid, a cell's feature is the weighted mean and it counts by its mean
    weight; cells without weight are no negatives, either.

    Source: van den Oord et al., "Representation Learning with Contrastive Predictive Coding",
    2018; the symmetric form of Radford et al., "Learning Transferable Visual Models From Natural
    Language Supervision", ICML 2021.

    Takes: maps (B, C, H, W), matrices (B, C) or, without a grid, sparse tensors, any channels;
    mask.

    Config lines::

        loss=dict(type='ContrastiveLoss', grid=(8, 8))

    Args:
        student_channels: Channels of the student's feature; read from the layer.
        teacher_channels: Channels of the teacher's feature; read from the layer.
        embed_dims: Size of the embeddings.
        projector: Config of the projectors without channels, default a pooled linear
            :class:`~mmdistill.connectors.MLPProjector`.
        grid: Contrast the cells of a grid laid over the map, ``(H, W)``, not whole scenes: more
            negatives for small batches of BEV maps.
        temperature: ``T``.
        gather: Use the other ranks' embeddings as further negatives; batches must be of one size.
        loss_weight: Factor of the loss.
    """

    needs = ('mask',)

    def __init__(
        self,
        student_channels: int | None = None,
        teacher_channels: int | None = None,
        embed_dims: int = 128,
        projector: dict | None = None,
        grid: tuple[int, int] | None = None,
        temperature: float = 0.07,
        gather: bool = True,
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        if temperature <= 0:
            raise ValueError(f'temperature must be positive, got {temperature}')
        super().__init__(embed_dims, projector, loss_weight, init_cfg)
        self.grid = None if grid is None else tuple(grid)
        self.temperature, self.gather = temperature, gather
        self.take_widths(student_channels=student_channels, teacher_channels=teacher_channels)

    def forward(self, student: Any, teacher: Any, *, mask: Tensor | None = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            student: Feature ``(B, Cs, ...)``, or a sparse tensor; a map where there is a grid.
            teacher: Feature ``(B, Ct, ...)``.
            mask: Weights of the positions, ``(B, 1, H, W)``, at least 0.

        Raises:
            ValueError: A feature has other channels than the config says or is no map where a
                grid is laid over it, or there is a mask without a grid.
        """
        student, teacher, weight = self._samples(student, teacher, mask)
        student, teacher = self.embed(student, teacher)
        # Not under autocast: divided by T, the rounding of half precision is as large as a margin.
        with torch.autocast(student.device.type, enabled=False):
            return self.loss_weight * self._info_nce(student, teacher, weight)

    def _samples(
        self, student: Any, teacher: Any, mask: Tensor | None
    ) -> tuple[Any, Any, Tensor | None]:
        """Features to contrast, and the weight of each."""
        if self.grid is None:
            if mask is not None:
                raise ValueError('a mask weighs the cells of a grid: set grid=(h, w), or remove it')
            return student, teacher.detach() if isinstance(teacher, Tensor) else teacher, None
        for feature in (student, teacher):
            if not isinstance(feature, Tensor) or feature.dim() != 4:
                raise ValueError(f'a grid needs maps (B, C, H, W), got {describe(feature)}')
        cells = take_items(student, teacher, self.grid, mask)
        student, teacher = cells.student.flatten(0, 1), cells.teacher.flatten(0, 1)
        return student, teacher, None if mask is None else cells.weight.flatten()

    def _info_nce(self, student: Tensor, teacher: Tensor, weight: Tensor | None) -> Tensor:
        weight = student.new_ones(len(student)) if weight is None else weight.to(student.dtype)
        ranks = dist.get_world_size() if self.gather else 1
        first, all_student, all_teacher, all_weight = 0, student, teacher, weight
        if ranks > 1:
            first = dist.get_rank() * len(student)
            all_student, all_teacher = GatherWithGradient.apply(torch.stack([student, teacher]))
            all_weight = torch.cat(dist.all_gather(weight))
        target = torch.arange(first, first + len(student), device=student.device)
        # DDP averages the ranks' losses; together they are one mean over all ranks' samples.
        share = divide(weight * ranks, all_weight.sum())
        # A large finite number: weightless rows have no other target, and 0 * inf is no zero.
        absent = (all_weight == 0)[None] * -1e4
        loss = 0
        for own, others in ((student, all_teacher), (teacher, all_student)):
            scores = own @ others.T / self.temperature + absent
            loss = loss + F.cross_entropy(scores, target, reduction='none')
        return (share * loss).sum() / 2


class GatherWithGradient(torch.autograd.Function):
    """Concatenate the ranks' tensors along axis 1; gradients return to the ranks and add up there.

    Under DDP, which averages the ranks' gradients, a mean over ranks of losses between gathered
    tensors then has the gradient of the same loss in one process.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        """``(K, B, D)`` of each rank to ``(K, ranks * B, D)``."""
        return torch.cat(dist.all_gather(tensor.contiguous()), dim=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Sum the ranks' gradients and return the own part."""
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad.chunk(dist.get_world_size(), dim=1)[dist.get_rank()]
