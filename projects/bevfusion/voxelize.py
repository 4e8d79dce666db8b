"""Hard voxelisation of a point cloud, in plain torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Voxelization(nn.Module):
    """Group points into voxels; the same code runs on the CPU and on CUDA.

    Voxels come in the order of their first point. A voxel keeps its first ``max_num_points``
    points; once ``max_voxels`` voxels exist, points of further voxels are dropped while the
    existing voxels keep filling. A point lies in cell ``floor((p - low) / size)``, computed in
    float32; the lower face of the range belongs to it, the upper one does not. Points with a
    non-finite coordinate belong to no voxel.

    Args:
        voxel_size: Edge lengths (x, y, z) in metres.
        point_cloud_range: (x_min, y_min, z_min, x_max, y_max, z_max) in metres.
        max_num_points: Most points kept in a voxel, at least 1.
        max_voxels: Most voxels of a cloud; one number, or a pair (training, evaluation).
        feature_scale: A factor for each column, which :meth:`reduce` lays on the averaged
            features; None leaves them in metres, 0..255 and seconds, as the published detector has
            them. Raw, the first convolution sees the time of a point 300 times weaker than its
            intensity, and a short training never finds it.

    Raises:
        ValueError: If the range is empty, a size or limit is not positive, or a factor is zero.

    Example:
        ``voxelize_cfg=dict(voxel_size=[0.075, 0.075, 0.2], max_num_points=10,
        point_cloud_range=[-54.0, -54.0, -5.0, 54.0, 54.0, 3.0], max_voxels=[120000, 160000])``
    """

    def __init__(
        self,
        voxel_size: Sequence[float],
        point_cloud_range: Sequence[float],
        max_num_points: int,
        max_voxels: int | Sequence[int] = 20000,
        feature_scale: Sequence[float] | None = None,
        deterministic: bool = True,
    ) -> None:
        super().__init__()
        # `deterministic` is a key of published configs; this implementation always is.
        del deterministic
        limits = (max_voxels, max_voxels) if isinstance(max_voxels, int) else tuple(max_voxels)
        if len(limits) != 2 or min(limits) < 1:
            raise ValueError(
                f'max_voxels is {max_voxels!r}; give a positive number, or a pair '
                '(training, evaluation) of them'
            )
        if max_num_points < 1:
            raise ValueError(
                f'max_num_points is {max_num_points}; it must be at least 1 (dynamic '
                'voxelisation is not part of this detector)'
            )
        low = torch.tensor(point_cloud_range[:3], dtype=torch.float32)
        high = torch.tensor(point_cloud_range[3:], dtype=torch.float32)
        size = torch.tensor(voxel_size, dtype=torch.float32)
        if len(point_cloud_range) != 6 or len(voxel_size) != 3:
            raise ValueError(
                'expected 6 numbers in point_cloud_range and 3 in voxel_size, got '
                f'{list(point_cloud_range)} and {list(voxel_size)}'
            )
        if not bool((size > 0).all()) or not bool((high > low).all()):
            raise ValueError(
                f'point_cloud_range {list(point_cloud_range)} with voxel_size {list(voxel_size)} '
                'holds no voxel; the order is (x_min, y_min, z_min, x_max, y_max, z_max)'
            )
        if feature_scale is not None and not all(feature_scale):
            raise ValueError(
                f'feature_scale is {list(feature_scale)}; a factor of zero would hide a column '
                'from the network: leave it out of the points instead (use_dim of the loaders)'
            )
        self.voxel_size = list(voxel_size)
        self.feature_scale = None if feature_scale is None else [float(f) for f in feature_scale]
        self.point_cloud_range = list(point_cloud_range)
        self.max_num_points = int(max_num_points)
        self.max_voxels = limits
        self.grid_size = torch.round((high - low) / size).long()
        self.register_buffer('_low', low, persistent=False)
        self.register_buffer('_size', size, persistent=False)
        # On the device of the points: to copy the sizes there in each pass would wait for it.
        self.register_buffer('_grid', self.grid_size.clone(), persistent=False)
        scale = None if feature_scale is None else torch.tensor(self.feature_scale)
        self.register_buffer('_scale', scale, persistent=False)

    @torch.no_grad()
    def forward(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Voxelise one cloud.

        Args:
            points: (N, C), the first three columns are x, y, z in metres. N may be 0.

        Returns:
            voxels (M, max_num_points, C), zeros in unused slots; cells (M, 3) int32 in the order
            x, y, z; number of points kept in each voxel (M,) int32.
        """
        limit = self.max_voxels[0] if self.training else self.max_voxels[1]
        points, cell_ids = self._drop_outside(points)
        if len(points) == 0:
            return (
                points.new_zeros(0, self.max_num_points, points.shape[1]),
                torch.zeros(0, 3, dtype=torch.int32, device=points.device),
                torch.zeros(0, dtype=torch.int32, device=points.device),
            )
        # A stable sort keeps the points of a cell in their original order.
        sorted_ids, order = torch.sort(cell_ids, stable=True)
        unique_ids, group, counts = torch.unique_consecutive(
            sorted_ids, return_inverse=True, return_counts=True
        )
        starts = counts.cumsum(0) - counts
        slot = torch.arange(len(order), device=order.device) - starts[group]

        # Number the cells by their first point.
        arrival = torch.argsort(order[starts])[:limit]
        rank = torch.full_like(counts, limit)
        rank[arrival] = torch.arange(len(arrival), device=order.device)
        rank_of_point = rank[group]
        keep = ((slot < self.max_num_points) & (rank_of_point < limit)).nonzero().squeeze(1)

        voxels = points.new_zeros(len(arrival) * self.max_num_points, points.shape[1])
        voxels[rank_of_point[keep] * self.max_num_points + slot[keep]] = points[order[keep]]
        num_points = counts[arrival].clamp(max=self.max_num_points).int()
        cells = self._cells_of(unique_ids[arrival])
        return voxels.view(-1, self.max_num_points, points.shape[1]), cells, num_points

    def reduce(self, voxels: Tensor, num_points: Tensor) -> Tensor:
        """Average the points of each voxel, and scale the columns by ``feature_scale``.

        Args:
            voxels: (M, max_num_points, C), zeros in unused slots.
            num_points: (M,) points kept in each.

        Returns:
            (M, C).

        Raises:
            ValueError: ``feature_scale`` has not one factor for each column.
        """
        mean = voxels.sum(dim=1) / num_points[:, None]
        if self._scale is None:
            return mean
        if len(self._scale) != mean.shape[1]:
            raise ValueError(
                f'feature_scale has {len(self._scale)} factors, the points have '
                f'{mean.shape[1]} columns; give one for each'
            )
        return mean * self._scale

    def _drop_outside(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points inside the range, and the flat index of their cell."""
        cells = torch.floor((points[:, :3].float() - self._low) / self._size)
        # Compared before the cast: NaN fails both, and large values would overflow an integer.
        inside = ((cells >= 0) & (cells < self._grid)).all(dim=1).nonzero().squeeze(1)
        x, y, z = cells[inside].long().unbind(dim=1)
        return points[inside], (x * int(self.grid_size[1]) + y) * int(self.grid_size[2]) + z

    def _cells_of(self, flat: Tensor) -> Tensor:
        size_y, size_z = int(self.grid_size[1]), int(self.grid_size[2])
        xy = torch.div(flat, size_z, rounding_mode='floor')
        x = torch.div(xy, size_y, rounding_mode='floor')
        return torch.stack((x, xy - x * size_y, flat - xy * size_z), dim=1).int()

    def extra_repr(self) -> str:
        return (
            f'voxel_size={self.voxel_size}, point_cloud_range={self.point_cloud_range}, '
            f'max_num_points={self.max_num_points}, max_voxels={self.max_voxels}, '
            f'feature_scale={self.feature_scale}'
        )
