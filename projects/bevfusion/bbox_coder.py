"""Boxes to regression targets and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.task_modules import BaseBBoxCoder
from mmdet3d.registry import TASK_UTILS
from torch import Tensor

from .boxes import constants

HEIGHTS = {'centre': 0.5, 'top': 1.0}
"""How far above the bottom of a box, in its sizes, lies what a height is of."""


@TASK_UTILS.register_module()
class TransFusionBBoxCoder(BaseBBoxCoder):
    """Codes (x, y in cells, height, log sizes, sin, cos, vx, vy) of LiDAR boxes.

    TransFusion (Bai et al., CVPR 2022).

    Args:
        pc_range: Start (x, y) of the range in metres.
        out_size_factor: Voxels per BEV cell along an axis.
        voxel_size: Voxel size (x, y) in metres.
        post_center_range: (x, y, z min, x, y, z max) in metres; with ``filter`` boxes whose
            bottom centre lies outside are dropped. The faces belong to it.
        score_threshold: With ``filter`` only boxes above it are kept; 0 or None keeps all.
        code_size: 8, or 10 with velocity.
        height_of: Of what of a box the height is the z: its ``'centre'``, or its ``'top'`` as in
            weights of mit-han-lab/bevfusion, whose data set takes centres for bottoms.
    """

    def __init__(
        self,
        pc_range: Sequence[float],
        out_size_factor: int,
        voxel_size: Sequence[float],
        post_center_range: Sequence[float] | None = None,
        score_threshold: float | None = None,
        code_size: int = 8,
        height_of: str = 'centre',
    ) -> None:
        super().__init__()
        if height_of not in HEIGHTS:
            raise ValueError(f'height_of is one of {list(HEIGHTS)}, not {height_of!r}')
        if code_size not in (8, 10):
            raise ValueError(f'code_size is {code_size}; it is 8, or 10 with velocity')
        self.pc_range = pc_range
        self.out_size_factor = out_size_factor
        self.voxel_size = voxel_size
        self.post_center_range = post_center_range
        self.score_threshold = score_threshold
        self.code_size = code_size
        self.height_of = height_of

    def encode(self, dst_boxes: Tensor) -> Tensor:
        """Targets (N, code_size) of boxes (N, 7 or 9): x, y, z bottom, sizes, yaw, velocity."""
        xy, bottom, dims, yaw = dst_boxes[:, :2], dst_boxes[:, 2:3], dst_boxes[:, 3:6], 6
        start, cell = self._start_and_cell(dst_boxes)
        angle = dst_boxes[:, yaw : yaw + 1]
        parts = [
            (xy - start) / cell,
            bottom + dims[:, 2:3] * HEIGHTS[self.height_of],
            dims.log(),
            angle.sin(),
            angle.cos(),
        ]
        if self.code_size == 10:
            parts.append(dst_boxes[:, 7:9])
        return torch.cat(parts, dim=1)

    def decode(
        self,
        heatmap: Tensor,
        rot: Tensor,
        dim: Tensor,
        center: Tensor,
        height: Tensor,
        vel: Tensor | None,
        filter: bool = False,
    ) -> list[dict[str, Tensor]]:
        """Boxes of raw head outputs, which are left as they are.

        Args:
            heatmap: (B, num_classes, P) scores or logits.
            rot: (B, 2, P) sin and cos.
            dim: (B, 3, P) log sizes.
            center: (B, 2, P) in cells.
            height: (B, 1, P) z of the centre, or of ``height_of``, in metres.
            vel: (B, 2, P) in m/s, or None.
            filter: Apply ``post_center_range`` and ``score_threshold``.

        Returns:
            For each sample ``bboxes`` (N, 7 or 9), ``scores`` (N,), ``labels`` (N,).
        """
        scores, labels = heatmap.max(dim=1)
        boxes = self.decode_boxes(rot, dim, center, height, vel)
        if filter:
            keep = self.keep_mask(boxes, scores)
        else:
            keep = torch.ones_like(scores, dtype=torch.bool)
        return [
            dict(bboxes=b[k], scores=s[k], labels=c[k])
            for b, s, c, k in zip(boxes, scores, labels, keep, strict=True)
        ]

    def decode_boxes(
        self, rot: Tensor, dim: Tensor, center: Tensor, height: Tensor, vel: Tensor | None
    ) -> Tensor:
        """Boxes (B, P, 7 or 9) of raw head outputs (B, ., P)."""
        start, cell = self._start_and_cell(center)
        sizes = dim.exp()
        parts = [
            center * cell[:, None] + start[:, None],
            height - sizes[:, 2:3] * HEIGHTS[self.height_of],
            sizes,
            torch.atan2(rot[:, 0:1], rot[:, 1:2]),
        ]
        if vel is not None:
            parts.append(vel)
        return torch.cat(parts, dim=1).transpose(1, 2)

    def keep_mask(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """Which boxes (B, P, .) with scores (B, P) range and threshold keep, (B, P) bool."""
        keep = torch.ones_like(scores, dtype=torch.bool)
        if self.post_center_range is not None:
            limits = constants(self.post_center_range, boxes)
            keep &= ((boxes[..., :3] >= limits[:3]) & (boxes[..., :3] <= limits[3:])).all(dim=-1)
        if self.score_threshold:
            keep &= scores > self.score_threshold
        return keep

    def _start_and_cell(self, like: Tensor) -> tuple[Tensor, Tensor]:
        start = constants(self.pc_range[:2], like)
        return start, constants(self.voxel_size[:2], like) * self.out_size_factor
