"""MedPix-2.0: CT and MR images with captions."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from medvl.datasets.image_text import ImageTextDataset, Row

TASKS = {'modality': 'Type', 'location': 'Location Category'}
"""Field of each task's label."""

LABEL_FIELDS = (
    *('Type', 'Modality', 'Location', 'Location Category', 'ACR Codes', 'ACR Code'),
    *('Category', 'TAC', 'MRI'),
)
"""Fields that are a label in other words."""


@DATASETS.register_module()
class MedPixDataset(ImageTextDataset):
    """Images of MedPix-2.0 in its own layout, with tasks ``modality`` and ``location``.

    One line of ``splitted_dataset/descriptions_{split}.jsonl`` is one image
    (``images/<image>.png``), one of ``data_{split}.jsonl`` a case. ``modality`` is the field
    ``Type``, ``location`` the field ``Location Category``. The text is the caption; no field that
    is a label in other words can be part of it.

    Source: Siragusa et al., "MedPix 2.0: A Comprehensive Multimodal Biomedical Dataset for Advanced
    AI Applications", 2024; https://github.com/CHILab1/MedPix-2.0.

    Config lines::

        dataset=dict(
            type='MedPixDataset', data_root='data/MedPix-2-0/', split='train',
            classes=dict(modality=['CT', 'MR'], location=['Abdomen', 'Head', ...]),
            allow=['empty_text'], pipeline=[dict(type='LoadImage'), ...])

    Args:
        split: ``'train'``, ``'dev'`` or ``'test'``.
        classes: Names of the classes of ``modality`` and ``location``.
        text_fields: What the text is made of, in this order: fields of an image's ``Description``
            (``'Caption'``, ``'Plane'``, ``'Age'``, ``'Sex'``) or of the ``Case`` (``'History'``,
            ``'Exam'``, ``'Findings'``).
        allow: Kinds of faults that are no error, see :class:`ImageTextDataset`.
        **kwargs: As in :class:`ImageTextDataset`.

    Raises:
        FileNotFoundError: There is no such split.
        ValueError: Lines have faults, or ``text_fields`` names a field that is a label.
    """

    def __init__(
        self,
        split: str,
        classes: Mapping[str, Sequence[str]],
        text_fields: Sequence[str] = ('Caption',),
        allow: Collection[str] = (),
        **kwargs: Any,
    ) -> None:
        if set(classes) != set(TASKS):
            raise ValueError(f'classes are those of {list(TASKS)}, got those of {list(classes)}')
        labels = [field for field in text_fields if field in LABEL_FIELDS]
        if labels or not text_fields:
            raise ValueError(
                f'text_fields={list(text_fields)!r}: {labels or "nothing"} would be the text, and '
                f'fields such as {", ".join(LABEL_FIELDS[:4])} are the label; for example '
                "text_fields=('Caption',)"
            )
        self.split, self.text_fields = split, tuple(text_fields)
        super().__init__(classes=classes, allow=allow, **kwargs)

    @property
    def annotations(self) -> Path:
        """The images' descriptions."""
        return Path(self.data_root or '') / 'splitted_dataset' / f'descriptions_{self.split}.jsonl'

    def split_of(self, name: str) -> MedPixDataset:
        """Return a copy that reads another split: ``'train'``, ``'dev'`` or ``'test'``."""
        other = copy.copy(self)
        other.split = name
        return other

    def how_to_get(self) -> str:
        """Say where the data set comes from."""
        return (
            'Clone https://github.com/CHILab1/MedPix-2.0 into data_root, or generate the embedded '
            'one: python tools/create_medsim.py --out data/medsim'
        )

    def read(self, broken: Callable[[int, str], None]) -> Iterator[Row]:
        """Yield the images."""
        cases = self._read_cases()
        for line, row, why in _json_lines(self.annotations):
            if row is None:
                broken(line, why)
                continue
            try:
                case = cases.get(row['U_id'])
                if case is None:
                    broken(line, f'case {row["U_id"]!r} is not in data_{self.split}.jsonl')
                    continue
                yield Row(
                    line,
                    id=str(row['image']),
                    image=Path(self.data_root or '') / 'images' / f'{row["image"]}.png',
                    text=self._text(row['Description'], case),
                    labels={task: str(row[field]) for task, field in TASKS.items()},
                    group=str(row['U_id']),
                )
            except (KeyError, TypeError) as error:
                broken(line, f'no field {error}' if isinstance(error, KeyError) else str(error))

    def _text(self, description: Mapping[str, Any], case: Mapping[str, Any]) -> str:
        parts = [description[f] if f in description else case[f] for f in self.text_fields]
        return ' '.join(str(part).strip() for part in parts if part)

    def _read_cases(self) -> dict[str, dict[str, Any]]:
        """The field ``Case`` by the case's id."""
        path = self.annotations.with_name(f'data_{self.split}.jsonl')
        if not path.is_file():
            raise FileNotFoundError(f'{path} does not exist. {self.how_to_get()}')
        cases = {}
        for line, row, why in _json_lines(path):
            if row is None or 'U_id' not in row:
                raise ValueError(f'{path}, line {line}: {why or "no field U_id"}')
            cases[row['U_id']] = row.get('Case') or {}
        return cases


def _json_lines(path: Path) -> Iterator[tuple[int, dict | None, str]]:
    """Line number, object and, where there is none, the reason."""
    with path.open(encoding='utf-8') as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                yield line, None, f'no JSON: {error.msg} at column {error.colno}'
                continue
            if isinstance(row, dict):
                yield line, row, ''
            else:
                yield line, None, f'a {type(row).__name__}, expected an object'
