"""Brings a teacher's BEV map to the student's cells, wherever their grids differ."""

from __future__ import annotations

from typing import Any

from mmengine.logging import print_log
from torch import Tensor

from mmdistill.contracts import Connector
from mmdistill.link import register_aligner
from mmdistill.reading import Layer
from mmdistill3d.bev import BEVGrid
from mmdistill3d.connectors.range import RangeConnector
from mmdistill3d.connectors.transpose import TransposeConnector
from mmdistill3d.grids import check_cells
from mmdistill3d.reading import same_range, xy_of

MIN_SEEN = 0.5
"""Least share of the student's area that the teacher must see."""


class BEVAligner(Connector):
    """A teacher's BEV map in the axes, range and cells of the student's.

    Links put it behind the teacher's connectors wherever two BEV maps differ in one of the three
    and the config has no connector that joins places. Values are interpolated linearly at the
    centres of the student's cells (:class:`~mmdistill3d.connectors.RangeConnector`). Where the
    teacher sees nothing they are 0, and a link gives these cells no weight in losses that take a
    mask.

    Args:
        source: What the teacher's map covers, and the order of its axes.
        target: The same of the student's map.
        size: Height and width of the student's map in cells; None where the axes alone differ.

    Raises:
        ValueError: The teacher sees less than half of the student's range.
    """

    joins_places = True

    def __init__(
        self, source: BEVGrid, target: BEVGrid, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.source, self.target, self.size = source, target, size
        self.transpose = TransposeConnector() if source.axes != target.axes else None
        self.resample = None
        if size is not None:
            _demand_overlap(source, target)
            ranges = source.point_cloud_range, target.point_cloud_range
            self.resample = RangeConnector(*ranges, size, target.axes)

    @property
    def is_partial(self) -> bool:
        """Whether there are cells of the student that the teacher does not see."""
        return self.resample is not None and self.resample.is_partial

    def facts(self, layer: Layer) -> dict[str, Any]:
        """Return where the result lies: where the student's map does."""
        return dict(axes=self.target.axes, range=self.target.point_cloud_range)

    def forward(self, feature: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` of the teacher's grid to the student's."""
        for step in (self.transpose, self.resample):
            feature = feature if step is None else step(feature)
        return feature

    def extra_repr(self) -> str:
        return f'{self.source} -> {self.target}, size={self.size}'


@register_aligner
def align_maps(student: Layer, teacher: Layer, cells: bool) -> BEVAligner | None:
    """Return what brings a teacher's map to the student's grid; None where nothing differs.

    Args:
        student: The student's layer, behind its connectors.
        teacher: The teacher's layer, behind its connectors.
        cells: Whether the loss compares the maps cell by cell. Where it reads them as wholes, their
            numbers of cells may differ.

    Raises:
        ValueError: Of one of two maps that are compared cell by cell nothing is known, the ranges
            differ and the student's number of cells is not known, or a map has cells that do not
            belong to its axes.
    """
    if not (_is_map(student) and _is_map(teacher)):
        return None
    facts = [(layer.axes, layer.range) for layer in (student, teacher)]
    if any(None in known for known in facts):
        if cells:
            _refuse_doubt(student, teacher)
        return None
    target, source = (BEVGrid(limits, axes) for axes, limits in facts)
    for grid, layer in ((target, student), (source, teacher)):
        check_cells(grid, layer)
    mine = student.size
    theirs = teacher.size if source.axes == target.axes else (teacher.size or ())[::-1] or None
    is_same = same_range(source.point_cloud_range, target.point_cloud_range)
    resample = not is_same or (cells and None not in (mine, theirs) and mine != theirs)
    if not resample and source.axes == target.axes:
        return None
    if resample and mine is None:
        raise ValueError(
            f'{student} covers {_metres(student)}, {teacher} {_metres(teacher)}, and how many '
            "cells the student's map has is not known before training; give "
            f"teacher_connector=dict(type='RangeConnector', source_range={_metres(teacher)}, "
            f'target_range={_metres(student)}, size=(height, width))'
        )
    aligner = BEVAligner(source, target, mine if resample else None)
    print_log(f'{teacher}: brought to the cells of {student} ({aligner})', logger='current')
    return aligner


def _is_map(layer: Layer) -> bool:
    """Whether a layer is a map, as far as is known."""
    if layer.value is None:
        return layer.axes is not None
    return layer.size is not None and len(layer.size) == 2 and isinstance(layer.value, Tensor)


def _refuse_doubt(student: Layer, teacher: Layer) -> None:
    """Two maps of which one tells where it lies and the other does not cannot be compared."""
    for name in ('axes', 'range'):
        values = [getattr(layer, name) for layer in (student, teacher)]
        if (values[0] is None) != (values[1] is None):
            known, unknown = (student, teacher) if values[1] is None else (teacher, student)
            raise ValueError(
                f'{known} is a BEV map with {name} {getattr(known, name)!r}, and nothing is known '
                f'of the {name} of {unknown}: let {type(unknown.model).__name__} say its bev_axes '
                "('xy' or 'yx') and bev_range, or give the connector that joins the two maps "
                '(TransposeConnector, RangeConnector or ResizeConnector)'
            )


def _demand_overlap(source: BEVGrid, target: BEVGrid) -> None:
    seen = 1.0
    for axis in (0, 1):
        low = max(source.low_xy[axis], target.low_xy[axis])
        high = min(source.high_xy[axis], target.high_xy[axis])
        seen *= max(high - low, 0.0) / (target.high_xy[axis] - target.low_xy[axis])
    if seen < MIN_SEEN:
        raise ValueError(
            f'the teacher sees {seen:.0%} of what the student sees: its range is '
            f"{list(source.point_cloud_range)}, the student's {list(target.point_cloud_range)}. "
            f'Less than {MIN_SEEN:.0%} is refused; join them with a RangeConnector and a mask if '
            'it is meant'
        )


def _metres(layer: Layer) -> list[Any]:
    return list(xy_of(layer.range))
