"""A classifier of clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor

_EXAMPLE_FRAMES, _EXAMPLE_SIZE = 4, 64


@MODELS.register_module()
class VideoClassifier(BaseModel):
    """Encodes each frame, pools the frames over time, and classifies.

    Its parts are layer addresses: ``backbone`` ``(B * T, C)``, ``neck.project`` ``(B, T, C)``,
    ``neck`` ``(B, C)``, ``neck.attention`` ``(B, T)`` and ``head.fc`` ``(B, classes)``.

    Config lines::

        model = dict(
            type='VideoClassifier',
            data_preprocessor=dict(type='ClipPreprocessor'),
            backbone=dict(type='HFVisionEncoder', config=dict(model_type='mobilevit')),
            neck=dict(type='TemporalPool', channels=512, mode='attention'),
            head=dict(type='ClassificationHead', num_classes=101))

    Args:
        backbone: Config of an encoder of images ``(B, 3, H, W)`` to ``(B, C)``, with
            ``out_channels``.
        neck: Config of what pools ``(B, T, C)`` to ``(B, C)``; its ``in_channels`` are the
            backbone's unless given.
        head: Config of the classifier; its ``in_channels`` are the neck's unless given.
        data_preprocessor: Config of the preprocessor.
        init_cfg: As in MMEngine.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            data_preprocessor=data_preprocessor or dict(type='ClipPreprocessor'),
            init_cfg=init_cfg,
        )
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build({'in_channels': self.backbone.out_channels, **neck})
        self.head = MODELS.build({'in_channels': self.neck.out_channels, **head})

    def forward(
        self,
        inputs: Tensor,
        data_samples: Sequence[BaseDataElement] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Run a preprocessed batch.

        Args:
            inputs: ``(B, T, 3, H, W)``.
            data_samples: With ``label`` for ``'loss'``.
            mode: ``'loss'`` for losses, ``'predict'`` for samples with ``scores``, ``'tensor'``
                for logits ``(B, classes)``.
        """
        features = self.extract(inputs)
        if mode == 'loss':
            return self.head.loss(features, data_samples)
        if mode == 'predict':
            return self.head.predict(features, data_samples)
        if mode == 'tensor':
            return self.head(features)
        raise ValueError(f"mode is 'loss', 'predict' or 'tensor', not {mode!r}")

    def extract(self, inputs: Tensor) -> Tensor:
        """Return one vector a clip, ``(B, C)``, of ``(B, T, 3, H, W)``."""
        frames = self.backbone(inputs.flatten(0, 1))
        return self.neck(frames.unflatten(0, inputs.shape[:2]))

    def example_batch(self) -> dict[str, Any]:
        """Return a tiny training batch as the data preprocessor takes it, always the same."""
        frames = getattr(self.neck, 'num_frames', None) or _EXAMPLE_FRAMES
        size = getattr(self.backbone, 'image_size', None) or _EXAMPLE_SIZE
        draws = torch.Generator().manual_seed(0)
        shape = (frames, 3, size, size)
        clips = [torch.randint(256, shape, generator=draws, dtype=torch.uint8) for _ in range(2)]
        samples = [BaseDataElement(metainfo=dict(label=i, sample_idx=i)) for i in range(2)]
        return dict(inputs=clips, data_samples=samples)
