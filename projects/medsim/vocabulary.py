"""Vocabularies of word pieces for the captions, as folders that tokenizer libraries read.

Two of them, so that a teacher and a student can differ in theirs: ``words`` has every word,
``pieces`` only what is frequent, so that rare words fall into parts.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

SPECIAL = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')
PIECES = 260
"""Entries of the small vocabulary."""


def write_tokenizers(folder: Path, texts: Iterable[str]) -> None:
    """Write ``words/`` and ``pieces/``, each a BERT tokenizer of lower case.

    Args:
        folder: Where the two folders are made.
        texts: What is to be tokenized; rare words of other texts still fall into letters.
    """
    words = Counter(word for text in texts for word in re.findall(r'\w+|[^\w\s]', text.lower()))
    letters = sorted({*''.join(words), *string.ascii_lowercase, *string.digits})
    alphabet = [*letters, *(f'##{letter}' for letter in letters)]
    by_count = sorted(words, key=lambda word: (-words[word], word))
    _write(folder / 'words', [*alphabet, *(word for word in by_count if len(word) > 1)])
    _write(folder / 'pieces', merge_pieces(words, alphabet, PIECES - len(SPECIAL)))


def merge_pieces(words: Counter[str], alphabet: list[str], size: int) -> list[str]:
    """Return an alphabet and the pieces that merging the most frequent pairs gives.

    Byte pair encoding in WordPiece's spelling: what goes on a word begins with ``##``.

    Args:
        words: How often each word occurs.
        alphabet: Single letters, and those with ``##``.
        size: Entries of the result; fewer where every word has become one piece.
    """
    pieces = list(alphabet)
    spelled = {word: [word[0], *(f'##{letter}' for letter in word[1:])] for word in words}
    while len(pieces) < size:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in spelled.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        if not pairs:
            break
        first, second = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merged = first + second.removeprefix('##')
        if merged not in pieces:
            pieces.append(merged)
        for word, parts in spelled.items():
            spelled[word] = _merge(parts, first, second, merged)
    return pieces


def _merge(parts: list[str], first: str, second: str, merged: str) -> list[str]:
    result: list[str] = []
    for part in parts:
        if result and (result[-1], part) == (first, second):
            result[-1] = merged
        else:
            result.append(part)
    return result


def _write(folder: Path, entries: list[str]) -> None:
    folder.mkdir(parents=True)
    (folder / 'vocab.txt').write_text('\n'.join([*SPECIAL, *entries]) + '\n', encoding='utf-8')
    config = dict(
        tokenizer_class='BertTokenizer',
        do_lower_case=True,
        **{f'{name[1:-1].lower()}_token': name for name in SPECIAL},
    )
    (folder / 'tokenizer_config.json').write_text(json.dumps(config, indent=2) + '\n')
