"""Classifiers of an image with its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn import functional as F

from medvl.fusions import Seen


@MODELS.register_module()
class ImageTextClassifier(BaseModel):
    """Two encoders, a projection of each, their fusion, and a head for each task.

    ===================  ==================================  ======================
    layer (its address)  what it returns                     from
    ===================  ==================================  ======================
    ``vision``           tokens of the image                 the image
    ``text``             tokens of the text and their mask   the text
    ``img_raw``          ``(B, vision's channels)``          pooled tokens
    ``txt_raw``          ``(B, text's channels)``            pooled tokens
    ``img_proj``         ``(B, channels)``                   ``img_raw``, linear
    ``txt_proj``         ``(B, channels)``                   ``txt_raw``, linear
    ``fusion``           ``(B, channels)``                   projections and tokens
    ``heads.<task>``     logits ``(B, num_classes)``         ``fusion``, linear
    ===================  ==================================  ======================

    Losses are ``loss_<task>``, cross entropies; predicted samples get ``<task>_scores``, the
    probabilities.

    Config lines::

        model = dict(
            type='ImageTextClassifier',
            data_preprocessor=dict(type='ImageTextPreprocessor', ...),
            vision=dict(type='HFVisionEncoder', config=dict(model_type='vit')),
            text=dict(type='HFTextEncoder', config=dict(model_type='distilbert')),
            fusion=dict(type='ConcatFusion'),
            heads=dict(modality=dict(num_classes=2), location=dict(num_classes=5)))

    Args:
        vision: Config of a module with ``out_channels`` that maps images to tokens ``(B, N, C)`` or
            a map ``(B, C, h, w)``; it is built with ``pool='tokens'``.
        text: Config of a module with ``out_channels`` that maps ``input_ids`` and
            ``attention_mask`` to ``dict(tokens=(B, N, C), mask=(B, N))``; built likewise.
        fusion: Config of a :class:`~medvl.fusions.Fusion`, without its widths.
        heads: By task, ``num_classes`` and, where it is not 1, ``loss_weight``.
        channels: Width of the projections and of the fusion.
        image_pool: ``'cls'``, the first token, or ``'mean'``.
        text_pool: ``'cls'`` or ``'mean'``, of the tokens that count.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: As in MMEngine.

    Raises:
        ValueError: A task has a name that torch's modules use.
    """

    def __init__(
        self,
        vision: dict,
        text: dict,
        fusion: dict,
        heads: Mapping[str, Mapping[str, Any]],
        channels: int = 512,
        image_pool: str = 'cls',
        text_pool: str = 'cls',
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        taken = [task for task in heads if hasattr(nn.ModuleDict, task)]
        if taken:
            raise ValueError(
                f'a head cannot be called {taken[0]!r}, which every module of torch has already: '
                f"call the task otherwise, such as labels=dict(wound_{taken[0]}='{taken[0]}')"
            )
        self.vision = MODELS.build(dict(vision, pool='tokens'))
        self.text = MODELS.build(dict(text, pool='tokens'))
        image_channels, text_channels = self.vision.out_channels, self.text.out_channels
        self.img_raw, self.txt_raw = TokenPool(image_pool), TokenPool(text_pool)
        self.img_proj = nn.Linear(image_channels, channels)
        self.txt_proj = nn.Linear(text_channels, channels)
        self.fusion = MODELS.build(
            dict(
                fusion,
                channels=channels,
                image_channels=image_channels,
                text_channels=text_channels,
            )
        )
        self.heads = nn.ModuleDict(
            {task: nn.Linear(channels, head['num_classes']) for task, head in heads.items()}
        )
        self.loss_weights = {task: head.get('loss_weight', 1.0) for task, head in heads.items()}

    def forward(
        self,
        inputs: dict[str, Tensor],
        data_samples: Sequence[BaseDataElement] | None = None,
        mode: str = 'tensor',
    ) -> dict[str, Tensor] | list[BaseDataElement]:
        """Run the model.

        Args:
            inputs: ``image`` ``(B, 3, H, W)``, ``input_ids`` and ``attention_mask`` ``(B, N)``.
            data_samples: The batch's samples, with ``<task>_label`` in training.
            mode: ``'tensor'`` returns the logits by task, ``'loss'`` the losses, ``'predict'`` the
                samples with ``<task>_scores``.
        """
        logits = self.classify(**inputs)
        if mode == 'loss':
            return self.loss(logits, data_samples)
        if mode == 'predict':
            return self.predict(logits, data_samples)
        return logits

    def classify(
        self, image: Tensor, input_ids: Tensor, attention_mask: Tensor
    ) -> dict[str, Tensor]:
        """Return the logits ``(B, num_classes)`` of each task."""
        patches = flat_tokens(self.vision(image))
        words = self.text(input_ids, attention_mask)
        tokens, mask = words['tokens'], words['mask']
        seen_image = Seen(self.img_proj(self.img_raw(patches)), patches)
        seen_text = Seen(self.txt_proj(self.txt_raw(tokens, mask)), tokens, mask)
        fused = self.fusion(seen_image, seen_text)
        return {task: head(fused) for task, head in self.heads.items()}

    def loss(
        self, logits: dict[str, Tensor], data_samples: Sequence[BaseDataElement]
    ) -> dict[str, Tensor]:
        """Return the cross entropy of each task.

        Raises:
            ValueError: A label is no class of its head.
        """
        losses = {}
        for task, scores in logits.items():
            labels = [int(sample.get(f'{task}_label')) for sample in data_samples]
            if not 0 <= min(labels) <= max(labels) < scores.shape[1]:
                raise ValueError(
                    f'labels of {task} reach from {min(labels)} to {max(labels)}, its head has '
                    f'{scores.shape[1]} classes: set heads.{task}.num_classes'
                )
            target = torch.tensor(labels, device=scores.device)
            losses[f'loss_{task}'] = self.loss_weights[task] * F.cross_entropy(scores, target)
        return losses

    def predict(
        self, logits: dict[str, Tensor], data_samples: Sequence[BaseDataElement] | None
    ) -> list[BaseDataElement]:
        """Return the samples, or new ones, with the probabilities of each task."""
        count = len(next(iter(logits.values())))
        samples = list(data_samples or (BaseDataElement() for _ in range(count)))
        for task, scores in logits.items():
            for sample, row in zip(samples, scores.softmax(1), strict=True):
                sample.set_data({f'{task}_scores': row})
        return samples

    def example_batch(self) -> dict[str, Any]:
        """Return a raw batch of two, as the data preprocessor takes it."""
        size = self.vision.image_size
        tones = torch.arange(2 * 3 * size * size).remainder(251).to(torch.uint8)
        labels = {f'{task}_label': 0 for task in self.heads}
        return dict(
            inputs=dict(
                image=list(tones.view(2, 3, size, size)),
                text=['an axial scan of the chest', 'a deep wound'],
            ),
            data_samples=[
                BaseDataElement(metainfo=dict(sample_idx=index), **labels) for index in range(2)
            ],
        )


class TokenPool(nn.Module):
    """Tokens ``(B, N, C)`` to one vector ``(B, C)``.

    Args:
        mode: ``'cls'``, the first token, or ``'mean'``.

    Raises:
        ValueError: Another mode.
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        if mode not in ('cls', 'mean'):
            raise ValueError(f"a pool is 'cls' or 'mean', not {mode!r}")
        self.mode = mode

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pool those tokens that a mask ``(B, N)`` keeps."""
        if self.mode == 'cls':
            return tokens[:, 0]
        if mask is None:
            return tokens.mean(1)
        weight = mask.to(tokens.dtype)[..., None]
        return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)


def flat_tokens(feature: Tensor) -> Tensor:
    """Maps ``(B, C, h, w)`` as tokens ``(B, h * w, C)``; tokens as they are."""
    return feature.flatten(2).transpose(1, 2) if feature.dim() == 4 else feature
