"""Images to vectors, tokens or maps."""

from __future__ import annotations

from typing import Any

from mmengine.registry import MODELS
from torch import Tensor

from mmdistill_hf.encoder import HFEncoder


@MODELS.register_module()
class HFVisionEncoder(HFEncoder):
    """An image encoder of transformers: CLIP, ViT, MobileViT and whatever ``AutoModel`` knows.

    ================  ==========================================================
    ``pool``          what ``forward`` returns
    ================  ==========================================================
    ``'pooler'``      the model's own pooled vector, ``(B, C)``
    ``'projection'``  CLIP's embedding, ``(B, projection_dim)``
    ``'cls'``         the first token, ``(B, C)``
    ``'mean'``        the mean of patches, or of a map's positions, ``(B, C)``
    ``'tokens'``      tokens ``(B, N, C)``, or a map ``(B, C, h, w)`` of a network of maps
    ================  ==========================================================

    From random weights MobileViT needs ``init='torch'``: the library draws every convolution with
    a standard deviation of 0.02, and in narrow layers the signal dies out.

    Config lines::

        backbone=dict(
            type='HFVisionEncoder', pool='projection', frozen=True,
            config=dict(model_type='clip_vision_model', patch_size=32, projection_dim=512),
            pretrained='openai/clip-vit-base-patch32')

    Args:
        config: As of :class:`~mmdistill_hf.encoder.HFEncoder`, and so are the others.
        stem: Config of a module that images pass first, such as :class:`ConvStem`; the encoder's
            ``config`` then describes what comes out of it (``num_channels``, ``image_size``).
        num_prefix_tokens: Tokens before the first patch, which ``'mean'`` leaves out.
    """

    POOLS = ('pooler', 'projection', 'cls', 'mean', 'tokens')

    def __init__(
        self, *args: Any, stem: dict | None = None, num_prefix_tokens: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.stem = None if stem is None else MODELS.build(stem)
        self.num_prefix_tokens = num_prefix_tokens
        if self.frozen:
            self.requires_grad_(False)

    @property
    def image_size(self) -> int:
        """Height and width of the images in pixels, as the config has them."""
        return self.model.config.image_size * getattr(self.stem, 'stride', 1)

    def init_weights(self) -> None:
        super().init_weights()
        if self.stem is not None:
            self.stem.init_weights()

    def forward(self, images: Tensor) -> Tensor:
        """Encode normalised images ``(B, 3, H, W)``; see the table for what comes out."""
        if self.stem is not None:
            images = self.stem(images)
        output = self.run(pixel_values=images)
        if self.pool == 'pooler':
            return output.pooler_output
        if self.pool == 'projection':
            return output.image_embeds
        feature = output.last_hidden_state
        if self.pool == 'tokens':
            return feature
        is_map = feature.dim() == 4
        if self.pool == 'cls':
            if is_map:
                raise ValueError(
                    f'{type(self.model).__name__} returns maps, which have no class token: '
                    "choose pool='mean' or 'pooler'"
                )
            return feature[:, 0]
        return feature.mean((2, 3)) if is_map else feature[:, self.num_prefix_tokens :].mean(1)
