"""A note with the weights of a head: of what of a box its heights are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

HEIGHT_TAG = 'height_of'
"""Where the metadata of a head's weights say so; without it they may be of anything."""


def tag_heights(head: nn.Module, state_dict: dict, prefix: str, local_metadata: dict) -> None:
    """Note it, as a hook of ``state_dict``, where it is not the centre."""
    heights = getattr(head.bbox_coder, 'height_of', 'centre')
    if heights != 'centre':
        local_metadata[HEIGHT_TAG] = heights


def demand_heights(coder: Any, local_metadata: Mapping[str, Any]) -> None:
    """Demand weights whose heights are those that a coder reads.

    Raises:
        ValueError: They are of something else of a box.
    """
    heights = getattr(coder, 'height_of', 'centre')
    given = local_metadata.get(HEIGHT_TAG, heights)
    if given != heights:
        raise ValueError(
            f'the heights of these weights are those of the {given} of a box, and '
            f'bbox_coder.height_of is {heights!r}: set it to {given!r}, as '
            'configs/bevfusion/bevfusion_lidar_teacher_mit.py does for mit-han-lab/bevfusion'
        )
