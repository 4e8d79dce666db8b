"""Connectors for features with channels last: tokens ``(B, N, C)`` and sequences ``(B, T, C)``.

Losses and the other connectors want channels on axis 1. A layer address cannot cut a tensor:
``[0]`` of a tensor is its first *sample*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor

from mmdistill.contracts import Connector
from mmdistill.reading.address import describe

MODES = ('cls', 'mean', 'masked_mean')


@MODELS.register_module()
class TokenPoolConnector(Connector):
    """Tokens ``(B, N, C)`` to one vector a sample, ``(B, C)``.

    Config lines::

        teacher_connector=dict(type='TokenPoolConnector', mode='cls')
        student_connector=dict(type='TokenPoolConnector', mode='masked_mean')     # texts

    Args:
        mode: ``'cls'``: the first token. ``'mean'``: the mean of the tokens behind the first
            ``skip``. ``'masked_mean'``: the mean of those that a mask keeps; the feature then is
            ``(tokens, mask)`` or a mapping with both, as encoders with ``pool='tokens'`` return.
        skip: Tokens at the front that ``'mean'`` leaves out, 1 for a class token.
    """

    def __init__(self, mode: str = 'cls', skip: int = 0) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f'mode is one of {MODES}, not {mode!r}')
        if skip < 0 or (skip and mode != 'mean'):
            raise ValueError(f"skip ({skip}) counts tokens that mode='mean' leaves out")
        self.mode, self.skip = mode, skip

    def forward(self, feature: Any) -> Tensor:
        """Pool tokens.

        Args:
            feature: ``(B, N, C)``; with a mask ``(B, N)`` for ``'masked_mean'``, where a sample
                without any kept token gives zeros.

        Raises:
            ValueError: The feature is something else.
        """
        if self.mode == 'masked_mean':
            return masked_mean(*_tokens_and_mask(feature))
        check_sequence(feature)
        if self.mode == 'cls':
            return feature[:, 0]
        if feature.shape[1] <= self.skip:
            raise ValueError(f'skip={self.skip} leaves nothing of {describe(feature)}')
        return feature[:, self.skip :].mean(1)


@MODELS.register_module()
class TokensToMapConnector(Connector):
    """Tokens ``(B, skip + h * w, C)`` of an image, row by row, to a map ``(B, C, h, w)``.

    Config lines::

        teacher_connector=dict(type='TokensToMapConnector', skip=1)   # ViT, CLIP: a class token

    Args:
        size: ``(h, w)``; ``None`` for a square.
        skip: Tokens before the first patch.
    """

    def __init__(self, size: tuple[int, int] | None = None, skip: int = 1) -> None:
        super().__init__()
        self.size = None if size is None else tuple(size)
        self.skip = skip

    def forward(self, feature: Tensor) -> Tensor:
        """Arrange patches.

        Raises:
            ValueError: The feature has no tokens, or not as many as the size says.
        """
        check_sequence(feature)
        patches = feature.shape[1] - self.skip
        side = math.isqrt(max(patches, 0))
        height, width = self.size or (side, side)
        if patches < 1 or patches != height * width:
            wanted = 'a square' if self.size is None else f'{height} x {width}'
            raise ValueError(
                f'{describe(feature)} has {patches} patches behind skip={self.skip}, expected '
                f'{wanted}: give size=(h, w), and skip=0 where there is no class token'
            )
        patches = feature[:, self.skip :].transpose(1, 2)
        return patches.reshape(*patches.shape[:2], height, width)


@MODELS.register_module()
class SequenceConnector(Connector):
    """A sequence ``(B, T, C)`` to channels first, ``(B, C, T)``, as losses of positions want it.

    Without it, a loss would take time for channels and compare or normalise over time.

    Config lines::

        student_connector=dict(type='SequenceConnector'),      # and the same for the teacher
        loss=dict(type='NormalizedMSELoss')
    """

    def forward(self, feature: Tensor) -> Tensor:
        """Swap the last two axes.

        Raises:
            ValueError: The feature is no sequence.
        """
        check_sequence(feature)
        return feature.transpose(1, 2).contiguous()


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean ``(B, C)`` of the tokens ``(B, N, C)`` that a mask ``(B, N)`` keeps; zeros if none."""
    weight = mask.to(tokens.dtype)[..., None]
    return (tokens * weight).sum(1) / weight.sum(1).clamp_min(1)


def check_sequence(feature: Any) -> None:
    """Demand ``(B, N, C)``; the ``ValueError`` says what it is instead."""
    if not isinstance(feature, Tensor) or feature.dim() != 3:
        cure = '' if isinstance(feature, Tensor) else ': add a selector to the layer address'
        raise ValueError(f'expected tokens (B, N, C), got {describe(feature)}{cure}')


def _tokens_and_mask(feature: Any) -> tuple[Tensor, Tensor]:
    if isinstance(feature, Mapping) and {'tokens', 'mask'} <= set(feature):
        tokens, mask = feature['tokens'], feature['mask']
    elif isinstance(feature, (tuple, list)) and len(feature) == 2:
        tokens, mask = feature
    else:
        raise ValueError(
            "mode='masked_mean' takes (tokens, mask), or a mapping with 'tokens' and 'mask', got "
            f'{describe(feature)}'
        )
    check_sequence(tokens)
    if not isinstance(mask, Tensor) or mask.shape != tokens.shape[:2]:
        raise ValueError(
            f'expected a mask {tuple(tokens.shape[:2])} for tokens {tuple(tokens.shape)}, got '
            f'{describe(mask)}'
        )
    return tokens, mask
