"""Texts to token numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mmdistill_hf.library import transformers
from mmdistill_hf.source import how_to_get, resolve_source

SPECIAL = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')


class HFTokenizer:
    """A tokenizer for data preprocessors, read from its source when it is first called.

    It is a plain attribute, no module: it has no weights, and building a model needs no files.

    Example::

        tokenize = HFTokenizer('distilbert-base-uncased', max_length=256)
        batch = tokenize(['a scan', 'an axial scan of the chest'])   # input_ids, attention_mask

    Args:
        source: Folder, ``'package::folder'`` or repository of the hub, see
            :func:`~mmdistill_hf.source.resolve_source`.
        max_length: Longer texts are cut to this many tokens.
        pad_to: Pad to the ``'longest'`` text of the batch, or to ``'max_length'``.
    """

    def __init__(self, source: str | Path, max_length: int = 128, pad_to: str = 'longest') -> None:
        if pad_to not in ('longest', 'max_length'):
            raise ValueError(f"pad_to is 'longest' or 'max_length', not {pad_to!r}")
        self.source, self.max_length, self.pad_to = str(source), max_length, pad_to
        self._tokenizer: Any = None

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return ``input_ids`` and ``attention_mask``, ``(B, N)`` of int64, on the CPU.

        Raises:
            FileNotFoundError: The tokenizer is not there; says how to get it.
            ValueError: Something else than texts.
        """
        wrong = [type(text).__name__ for text in texts if not isinstance(text, str)]
        if wrong or isinstance(texts, str):
            raise ValueError(f'a tokenizer takes a list of texts, got {wrong or "one str"}')
        encoded = self.load()(
            list(texts),
            truncation=True,
            max_length=self.max_length,
            padding=self.pad_to,
            return_tensors='pt',
        )
        return {key: encoded[key] for key in ('input_ids', 'attention_mask')}

    def load(self) -> Any:
        """Return the library's tokenizer.

        Raises:
            FileNotFoundError: It is not there; says how to get it.
        """
        if self._tokenizer is None:
            place = resolve_source(self.source)
            try:
                self._tokenizer = transformers().AutoTokenizer.from_pretrained(place)
            except (OSError, ValueError) as error:
                reason = str(error).splitlines()[0]
                raise FileNotFoundError(
                    f'the tokenizer {self.source!r} cannot be read ({reason}); '
                    f'{how_to_get(place, "tokenizer")}'
                ) from error
        return self._tokenizer


def train_wordpiece(texts: Iterable[str], vocab_size: int, folder: str | Path) -> int:
    """Make a lower-case WordPiece tokenizer of texts and save it for :class:`HFTokenizer`.

    Its vocabulary is every character of the texts and their most frequent words, so the same texts
    give the same vocabulary. (The library's trainer breaks ties by chance.) A word that is not in
    it is spelt, a character that is not in it becomes ``[UNK]``.

    Args:
        texts: What to learn from.
        vocab_size: Most tokens, special ones included.
        folder: Where it is saved, by ``save_pretrained``.

    Returns:
        How many tokens it has.

    Raises:
        ValueError: ``vocab_size`` is too small for the characters.
    """
    library = transformers()
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(w for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    characters = sorted({character for word in counts for character in word})
    vocabulary = [*SPECIAL, *characters, *(f'##{character}' for character in characters)]
    if vocab_size < len(vocabulary):
        raise ValueError(
            f'vocab_size is {vocab_size}, and {len(vocabulary)} tokens are needed to spell the '
            f'{len(characters)} characters of the texts'
        )
    words = sorted((w for w in counts if len(w) > 1), key=lambda word: (-counts[word], word))
    vocabulary += words[: vocab_size - len(vocabulary)]
    numbers = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token='[UNK]'))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single='[CLS] $A [SEP]',
        special_tokens=[(token, numbers[token]) for token in ('[CLS]', '[SEP]')],
    )
    names = ('pad_token', 'unk_token', 'cls_token', 'sep_token', 'mask_token')
    library.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **dict(zip(names, SPECIAL, strict=True))
    ).save_pretrained(str(folder))
    return len(vocabulary)
