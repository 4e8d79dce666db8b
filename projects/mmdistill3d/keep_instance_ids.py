"""Pipeline step that tells object-level CRD which boxes are the same thing in several frames."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform, Compose
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class KeepInstanceIds(BaseTransform):
    """Runs the end of a training pipeline and keeps each box's instance through its filters.

    MMDetection3D's filters drop boxes and labels and know no other field. This step wraps them and
    the packing; packed samples get ``gt_instances_3d.instance_id`` ``(N,)``, -1 for boxes that
    are not the data set's own, as pasted objects are. The data set's ``instances`` need a key
    ``instance_token`` (any string, as in nuScenes' ``sample_annotation``), which
    ``tools/create_data.py`` and ``tools/create_lidarsim.py`` write and MMDetection3D's converter
    does not, or ``instance_id`` (a number).

    Config lines::

        dict(type='KeepInstanceIds', transforms=[
            dict(type='ObjectRangeFilter', point_cloud_range=point_cloud_range),
            dict(type='ObjectNameFilter', classes=class_names),
            dict(type='Pack3DDetInputs', keys=['points', 'gt_bboxes_3d', 'gt_labels_3d'])])

    Args:
        transforms: Configs of the wrapped steps; the last one packs, and none moves boxes.

    Raises:
        KeyError: The annotations have neither key.
        ValueError: A step before drops boxes, or a wrapped one moves them.
    """

    def __init__(self, transforms: Sequence[dict]) -> None:
        self.transforms = Compose(list(transforms))

    def transform(self, results: dict) -> dict | None:
        """Run the wrapped steps on a result dict with ``gt_bboxes_3d`` and ``ann_info``."""
        before = results['gt_bboxes_3d'].tensor[:, :6].clone()
        ids = self._ids(results['ann_info'], len(before))
        packed = self.transforms(results)
        if packed is None:
            return None
        instances = packed['data_samples'].gt_instances_3d
        after = instances.bboxes_3d.tensor[:, :6]
        # Filters keep the order of boxes, their centres and sizes, not numbers or not.
        same = torch.isclose(after[:, None], before[None], rtol=0, atol=0, equal_nan=True)
        same = same.all(2).to(torch.uint8)
        kept = same.argmax(1) if len(before) else torch.zeros(0, dtype=torch.long)
        if not bool(same.any(1).all()):
            raise ValueError('a step wrapped by KeepInstanceIds moves boxes; put it before')
        instances.instance_id = ids[kept]
        return packed

    def _ids(self, ann_info: dict, count: int) -> torch.Tensor:
        if 'instance_id' in ann_info:
            own = np.asarray(ann_info['instance_id'], dtype=np.int64)
        elif 'instance_token' in ann_info:
            own = np.array([zlib.crc32(str(t).encode()) for t in ann_info['instance_token']])
        elif len(ann_info['gt_labels_3d']) == 0:
            own = np.zeros(0)
        else:
            raise KeyError(
                f'instances have {sorted(ann_info)}, but neither instance_token nor instance_id; '
                'write the info files anew with tools/create_data.py nuscenes --force, for the '
                'embedded data set tools/create_lidarsim.py --force, or remove KeepInstanceIds'
            )
        if len(own) > count:
            raise ValueError(
                f'{len(own)} boxes are annotated and {count} are left before KeepInstanceIds: put '
                'the step that drops boxes into its transforms'
            )
        ids = torch.full((count,), -1)
        ids[: len(own)] = torch.from_numpy(own.astype(np.int64))
        return ids
