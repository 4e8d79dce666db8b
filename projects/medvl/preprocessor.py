"""Batches of images and strings, as one model takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS

from mmdistill_hf import HFTokenizer


@MODELS.register_module()
class ImageTextPreprocessor(BaseDataPreprocessor):
    """Normalises images and turns strings into the tokens of the model's own vocabulary.

    Strings travel in the batch as they are, so a teacher and a student whose tokenizers differ
    each make their own tokens of the same text.

    Config lines::

        data_preprocessor=dict(
            type='ImageTextPreprocessor', mean=[127.5] * 3, std=[127.5] * 3,
            tokenizer='distilbert-base-uncased', max_length=256)

    Args:
        mean: Of red, green and blue, subtracted; images are 0 to 255.
        std: Of red, green and blue; divided by.
        tokenizer: Source of the tokenizer: a folder, ``'package::folder'`` or a repository of the
            hub. It is read when the first batch comes.
        max_length: Longer texts are cut to so many tokens.
        sees: ``'both'``, or for ablations only the ``'image'`` (every text is empty) or only the
            ``'text'`` (every image is of the mean tone).
        non_blocking: As in MMEngine.

    Raises:
        ValueError: ``sees`` is something else.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        tokenizer: str,
        max_length: int = 128,
        sees: str = 'both',
        non_blocking: bool = False,
    ) -> None:
        super().__init__(non_blocking)
        if sees not in ('both', 'image', 'text'):
            raise ValueError(f"sees is 'both', 'image' or 'text', not {sees!r}")
        self.sees = sees
        for name, values in (('mean', mean), ('std', std)):
            self.register_buffer(name, torch.tensor(values).float().view(1, -1, 1, 1), False)
        self.tokenizer = HFTokenizer(tokenizer, max_length)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Prepare a collated batch.

        Args:
            data: ``inputs`` with ``image``, uint8 tensors ``(3, H, W)`` of one size, and ``text``,
                strings; and ``data_samples``.
            training: Makes no difference.

        Returns:
            ``inputs`` with ``image`` ``(B, 3, H, W)``, ``input_ids`` and ``attention_mask``
            ``(B, N)``; and ``data_samples``.

        Raises:
            ValueError: The images differ in size.
            FileNotFoundError: The tokenizer is not there; says how to get it.
        """
        images, texts = data['inputs']['image'], data['inputs']['text']
        sizes = {tuple(image.shape) for image in images}
        if len(sizes) > 1:
            raise ValueError(
                f'images of one batch have sizes {sorted(sizes)}: put '
                "dict(type='FitSquare', size=...) into the pipeline"
            )
        image = (self.cast_data(torch.stack(list(images))).float() - self.mean) / self.std
        if self.sees == 'text':
            image = torch.zeros_like(image)
        tokens = self.tokenizer([''] * len(texts) if self.sees == 'image' else list(texts))
        return dict(
            inputs=dict(image=image, **self.cast_data(tokens)),
            data_samples=self.cast_data(data.get('data_samples')),
        )
