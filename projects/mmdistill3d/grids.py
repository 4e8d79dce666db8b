"""The grid of a linked map: said by the config, read from the detector, or both."""

from __future__ import annotations

from collections.abc import Sequence

from mmdistill.reading import Layer
from mmdistill3d.bev import BEVGrid
from mmdistill3d.reading import same_range, voxel_size

# Strides along x and y are equal, but for a cell that is rounded off. Axes are wrong where they
# make the strides so unequal, and exchanged ones so equal.
_UNEQUAL, _EQUAL = 1.1, 1.05

TEACHER = ('point_cloud_range', 'teacher_axes')
"""Arguments of losses that take a grid of the teacher's map, too."""


class MapGrid:
    """Range and axes of a map, until a link tells them and afterwards.

    A part that is bound by a link reads both from the layer; a config that says them, too, must
    agree. A part that is used alone needs them as arguments. Nothing is assumed.

    Args:
        point_cloud_range: Range in metres that the config gives, see
            :class:`~mmdistill3d.bev.BEVGrid`; None leaves it to the layer.
        axes: Axes that the config gives, likewise.
        like: The grid from which the missing values come where no layer tells them, for a
            teacher's map beside the student's.
        arguments: Names of the two in the config, for errors.
    """

    def __init__(
        self,
        point_cloud_range: Sequence[float] | None = None,
        axes: str | None = None,
        like: MapGrid | None = None,
        arguments: tuple[str, str] = ('point_cloud_range', 'axes'),
    ) -> None:
        self._given = self._known = (point_cloud_range, axes)
        self._like, self._arguments, self._is_read = like, arguments, False
        # What is given is checked at once.
        BEVGrid((0, 0, 1, 1) if point_cloud_range is None else point_cloud_range, axes or 'xy')

    def bind(self, layer: Layer) -> None:
        """Read what the layer tells, and check what the config gives.

        Raises:
            ValueError: The two disagree, the layer's cells belong to other axes, or nobody tells
                range and axes.
        """
        limits, axes = self._given
        for given, read, name, agree in (
            (limits, layer.range, self._arguments[0], same_range),
            (axes, layer.axes, self._arguments[1], str.__eq__),
        ):
            if given is not None and read is not None and not agree(given, read):
                raise ValueError(
                    f'{name}={_shown(given)}, but {_shown(read)} is what '
                    f'{type(layer.model).__name__} has ({layer}); leave {name} out, and it is read'
                )
        limits = layer.range if limits is None else limits
        axes = axes or layer.axes
        if axes is None and self._like is not None and self._like._is_read:
            raise ValueError(
                f'nobody says what the axes of {layer} are, and the other side is another family: '
                f'give {self._arguments[1]}'
            )
        self._known, self._is_read = (limits, axes), layer.axes is not None
        check_cells(self(), layer)

    def __call__(self) -> BEVGrid:
        """Return the grid.

        Raises:
            ValueError: Range or axes are not known.
        """
        limits, axes = self._known
        if self._like is not None and (limits is None or axes is None):
            other = self._like()
            limits = other.point_cloud_range if limits is None else limits
            axes = axes or other.axes
        if limits is None or axes is None:
            raise ValueError(
                f'nobody says where the cells of the map lie: give {self._arguments[0]} in metres, '
                f"and {self._arguments[1]}='xy' for maps (B, C, X, Y) as BEVFusion's or 'yx' for "
                "(B, C, Y, X) as those of MMDetection3D's own voxel and pillar detectors; or let "
                'the detector say bev_range and bev_axes'
            )
        return BEVGrid(limits, axes)


def check_cells(grid: BEVGrid, layer: Layer) -> None:
    """Demand that a map's cells do not belong to exchanged axes.

    On a range that is longer than it is wide, such as KITTI's, the numbers of cells tell the axes,
    too: a cell spans as many voxels along x as along y.

    Raises:
        ValueError: The cells belong to the other order of axes.
    """
    if layer.size is None or len(layer.size) != 2:
        return
    other = BEVGrid(grid.point_cloud_range, 'yx' if grid.axes == 'xy' else 'xy')
    voxel_m = voxel_size(layer.model) or (1.0, 1.0)
    unequal, exchanged = (
        max(strides) / min(strides)
        for strides in (
            [cell / voxel for cell, voxel in zip(g.cell_size_m(layer.size), voxel_m, strict=True)]
            for g in (grid, other)
        )
    )
    if unequal > _UNEQUAL and exchanged < _EQUAL:
        raise ValueError(
            f'{layer} has {layer.size} cells over {list(grid.point_cloud_range)} m: its axes are '
            f'{other.axes!r}, not {grid.axes!r}, as the config or the family of '
            f'{type(layer.model).__name__} says; set bev_axes in the detector, or correct axes'
        )


def _shown(value: str | Sequence[float]) -> str:
    return repr(value) if isinstance(value, str) else str([float(number) for number in value])
