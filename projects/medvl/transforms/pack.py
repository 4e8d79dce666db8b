"""The end of a pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from mmengine.structures import BaseDataElement

META = ('sample_idx', 'sample_id', 'group', 'img_path', 'text')


@TRANSFORMS.register_module()
class PackImageText:
    """Make of a sample what the model takes: ``inputs`` and ``data_samples``.

    ``inputs`` is ``dict(image=..., text=...)``: a uint8 tensor ``(3, H, W)`` and the raw string,
    since each model has a tokenizer of its own. ``data_samples`` holds the labels as
    ``<task>_label``, and the rest as meta information.

    Config lines::

        dict(type='PackImageText')
    """

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Pack."""
        image = torch.from_numpy(np.ascontiguousarray(sample['image'].transpose(2, 0, 1)))
        labels = {key: value for key, value in sample.items() if key.endswith('_label')}
        meta = {key: sample[key] for key in META if key in sample}
        return dict(
            inputs=dict(image=image, text=sample['text']),
            data_samples=BaseDataElement(metainfo=meta, **labels),
        )
