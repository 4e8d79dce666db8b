"""Losses between sparse voxels, joined by their coordinates and never made dense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.registry import MODELS
from torch import Tensor

from mmdistill.contracts import LinkLoss
from mmdistill.losses.reduce import as_float
from mmdistill.reading import Layer
from mmdistill.reading.address import describe
from mmdistill.reading.sparse import is_sparse

DISTANCES = ('mse', 'l1')
REDUCTIONS = ('mean', 'max')
UNMATCHED = ('ignore', 'zero')
_NO_KEY = torch.iinfo(torch.int64).max


@MODELS.register_module()
class SparseFeatureLoss(LinkLoss):
    r"""Mean difference of the features of voxels that lie at the same place.

    With the student's voxels :math:`s_i` and the teacher's value :math:`t(i)` at the place of each,
    the loss is the mean of :math:`(s_{ic} - t_c(i))^2` over the channels and the voxels that have
    such a value. Voxels are joined by sample and cell, through sorted keys.

    The grids may differ by whole factors, axis by axis; a fine cell ``x`` lies in the coarse cell
    ``x // factor``. Where the teacher's grid is the finer one, :math:`t(i)` is the mean or maximum
    of its voxels in the student's cell; where the student's is, each of its voxels is compared with
    the teacher's voxel around it.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, on the active sites of
    sparse convolutions.

    Takes: sparse tensors of spconv with the same number of channels.

    Config lines::

        encoder=dict(
            student='pts_middle_encoder.encoder_layers.encoder_layer1',
            teacher='pts_middle_encoder.encoder_layers.encoder_layer1',
            student_connector=dict(type='SparseLinearConnector'),
            loss=dict(type='SparseFeatureLoss'))

    Args:
        distance: ``'mse'`` or ``'l1'``.
        unmatched: What happens to voxels that one side alone has. ``'ignore'``: they do not count.
            ``'zero'``: the other side counts as zero there, as it does in a dense map. The mean is
            then over the voxels of both sides (at the student's places where the grids differ; a
            teacher's cell without any of the student's voxels counts once).
        reduce: ``'mean'`` or ``'max'`` of a finer teacher's voxels in a cell.
        loss_weight: Factor of the loss.
    """

    joins = 'nothing'

    def __init__(
        self,
        distance: str = 'mse',
        unmatched: str = 'ignore',
        reduce: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ('distance', distance, DISTANCES),
            ('unmatched', unmatched, UNMATCHED),
            ('reduce', reduce, REDUCTIONS),
        ):
            if value not in known:
                raise ValueError(f'{name} is one of {known}, not {value!r}')
        self.distance, self.unmatched, self.reduce = distance, unmatched, reduce
        self.loss_weight = loss_weight

    def bind(self, student: Layer, teacher: Layer) -> None:
        """Check channels and grids as far as they are known.

        Raises:
            ValueError: Channels do not fit, or cells are not counted from one corner in one order.
        """
        for name in ('axes', 'range'):
            values = getattr(student, name), getattr(teacher, name)
            if None not in values and values[0] != values[1]:
                raise ValueError(
                    f'voxels are joined by their coordinates, and {student} has {name} '
                    f'{values[0]!r}, {teacher} {values[1]!r}; link BEV maps, which are joined in '
                    'metres'
                )
        if student.value is not None and teacher.value is not None:
            _check(student.value, teacher.value)
            _common_grid(student.value.spatial_shape, teacher.value.spatial_shape)

    def forward(self, student: Any, teacher: Any) -> Tensor:
        """Return the loss of two sparse tensors; zero where no voxels meet.

        Args:
            student: Sparse tensor with ``features`` ``(Ms, C)``, ``indices`` ``(Ms, 4)`` (sample
                and cell) and ``spatial_shape``.
            teacher: The same with ``Mt`` voxels.

        Raises:
            ValueError: A feature is not sparse, or channels or grids do not fit.
        """
        _check(student, teacher)
        mine, theirs = as_float(student.features), as_float(teacher.features.detach())
        theirs = theirs.to(mine.dtype)
        student_factors, teacher_factors, shape = _common_grid(
            student.spatial_shape, teacher.spatial_shape
        )
        cells = _reduce(theirs, _keys(teacher.indices, teacher_factors, shape), self.reduce)
        position, found = cells.look_up(_keys(student.indices, student_factors, shape))
        target = torch.where(found[:, None], cells.features[position], 0)
        error = self._distance(mine - target)
        if self.unmatched == 'ignore':
            total, count = (error * found[:, None]).sum(), found.sum()
        else:
            alone = cells.alone(position, found)
            total = error.sum() + (self._distance(cells.features) * alone[:, None]).sum()
            count = alone.sum() + len(mine)
        return self.loss_weight * total / (count * mine.shape[1]).clamp(min=1)

    def _distance(self, difference: Tensor) -> Tensor:
        return difference.square() if self.distance == 'mse' else difference.abs()


class _Cells(NamedTuple):
    """The teacher's values by cell, sorted by key; the rows behind the last cell are empty."""

    keys: Tensor  # (M + 1,)
    features: Tensor  # (M + 1, C)

    def look_up(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Return the row of each key, ``(N,)``, and whether there is one."""
        position = torch.searchsorted(self.keys, keys)
        return position, self.keys[position] == keys

    def alone(self, position: Tensor, found: Tensor) -> Tensor:
        """Return which rows are cells that nobody looked up, ``(M + 1,)``."""
        met = torch.zeros_like(self.keys).index_add_(0, position, found.long())
        return (met == 0) & (self.keys != _NO_KEY)


def _keys(indices: Tensor, factors: Sequence[int], shape: Sequence[int]) -> Tensor:
    """One number for sample and coarse cell of each voxel, ``(M,)`` int64."""
    indices = indices.long()
    key = indices[:, 0]
    for axis, (factor, cells) in enumerate(zip(factors, shape, strict=True), start=1):
        key = key * cells + indices[:, axis].div(factor, rounding_mode='floor')
    return key


def _reduce(features: Tensor, keys: Tensor, how: str) -> _Cells:
    """Reduce the voxels of each cell.

    There are as many rows as voxels, and one more, so that the number of cells is not waited for
    and every key is less than the last.
    """
    keys, order = keys.sort()
    begins = torch.ones_like(keys)
    begins[1:] = keys[1:] != keys[:-1]
    cell = begins.cumsum(0) - 1
    cell_keys = keys.new_full((len(keys) + 1,), _NO_KEY).scatter_(0, cell, keys)
    values = features.new_zeros(len(keys) + 1, features.shape[1]).scatter_reduce_(
        0,
        cell[:, None].expand_as(features),
        features[order],
        'mean' if how == 'mean' else 'amax',
        include_self=False,
    )
    return _Cells(cell_keys, values)


def _common_grid(
    student: Sequence[int], teacher: Sequence[int]
) -> tuple[list[int], list[int], list[int]]:
    """By which factor each grid is finer than the coarser one, by axis, and the coarser's cells.

    The longest axis tells the factor. Others need not divide: a convolution of stride 2 leaves half
    the cells, rounded up or, without padding, down and one less.
    """
    sizes = [(int(own), int(other)) for own, other in zip(student, teacher, strict=True)]
    longest = max((pair for pair in sizes if pair[0] != pair[1]), key=max, default=(1, 1))
    factor = round(max(longest) / min(longest))
    for pair in sizes:
        rest = max(pair) - factor * min(pair)
        if pair[0] != pair[1] and not (factor > 1 and -factor < rest < 2 * factor):
            raise ValueError(
                f'the student has {tuple(student)} cells, the teacher {tuple(teacher)}: no whole '
                'factor joins them; link stages whose strides are multiples of each other'
            )
    student_factors = [factor if own > other else 1 for own, other in sizes]
    teacher_factors = [factor if other > own else 1 for own, other in sizes]
    shape = [
        max(-(-own // mine), -(-other // theirs))
        for (own, other), mine, theirs in zip(sizes, student_factors, teacher_factors, strict=True)
    ]
    return student_factors, teacher_factors, shape


def _check(student: Any, teacher: Any) -> None:
    for feature in (student, teacher):
        if not is_sparse(feature):
            raise ValueError(
                f'expected sparse tensors, got {describe(feature)}: name a stage of the sparse '
                'encoder, or take a loss of maps'
            )
    if len(student.spatial_shape) != len(teacher.spatial_shape):
        raise ValueError(
            f'the student has {tuple(student.spatial_shape)} cells, the teacher '
            f'{tuple(teacher.spatial_shape)}'
        )
    channels = student.features.shape[1], teacher.features.shape[1]
    if channels[0] != channels[1]:
        raise ValueError(
            f'the student has {channels[0]} channels, the teacher {channels[1]}; join them with '
            "student_connector=dict(type='SparseLinearConnector')"
        )
