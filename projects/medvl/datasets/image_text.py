"""Data sets of images with a text and a label for each task."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from medvl.datasets.faults import Faults

PLACEHOLDER = re.compile(
    r'\W*|replace this\b.*|no description( available)?\W*|n/?a|none|null', re.I | re.S
)
"""Texts that say nothing."""


@dataclass(frozen=True)
class Row:
    """What an annotation file says of one image.

    Args:
        line: Its line in the file, from 1.
        id: What nothing else in the file may be called.
        image: Path of the image.
        text: What is said of it.
        labels: Class of each task.
        group: What must not be torn apart by splits, as the patient or the case.
    """

    line: int
    id: str
    image: Path
    text: str | None
    labels: Mapping[str, str]
    group: str


class ImageTextDataset(BaseDataset):
    """Base of data sets of images with a text and one label a task; a subclass reads its file.

    A sample holds ``img_path``, ``text``, ``<task>_label`` (index into the task's classes),
    ``sample_id``, ``group`` and ``sample_idx``. ``faults`` counts what is wrong with the file.

    Args:
        classes: Names of the classes of each task, in the order of the model's scores.
        allow: Kinds of faults (:data:`medvl.datasets.faults.KINDS`) that are no error: such lines
            are left out and counted; with ``'empty_text'`` they stay, with an empty text.
        apart_from: Other splits, as the subclass names them, none of whose groups may be in this
            one: of validation data those of training, of test data both.
        **kwargs: As in MMEngine's ``BaseDataset``: ``data_root``, ``pipeline``, ``indices`` ...

    Raises:
        FileNotFoundError: The annotation file does not exist.
        ValueError: Lines have faults that are not allowed; the message has their numbers and, for
            unknown classes, the classes of the file, ready to paste.
    """

    def __init__(
        self,
        classes: Mapping[str, Sequence[str]],
        allow: Collection[str] = (),
        apart_from: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        self.classes = {task: list(names) for task, names in classes.items()}
        self.allow, self.apart_from = tuple(allow), tuple(apart_from)
        self.faults: dict[str, int] = {}
        super().__init__(metainfo=dict(classes=self.classes), **kwargs)

    @property
    def annotations(self) -> Path:
        """The file that ``read`` reads."""
        raise NotImplementedError

    def read(self, broken: Callable[[int, str], None]) -> Iterator[Row]:
        """Yield the rows of the file.

        Args:
            broken: Is told line and reason of lines that cannot be read.
        """
        raise NotImplementedError

    def how_to_get(self) -> str:
        """Say where the data set comes from."""
        raise NotImplementedError

    def split_of(self, name: str) -> ImageTextDataset:
        """Return a copy of this data set that reads another split."""
        raise NotImplementedError

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read and check the file."""
        self._demand_file()
        taken = self._groups_of_others()
        faults = Faults(str(self.annotations), self.allow)
        rows = list(self.read(lambda line, why: faults.add('unreadable', line, why)))
        samples, seen = [], {}
        for row in rows:
            if row.id in seen:
                faults.add('duplicate_id', row.line, f'{row.id!r}, as line {seen[row.id]}')
                continue
            seen[row.id] = row.line
            if row.group in taken:
                faults.add('in_other_split', row.line, f'{row.group!r}, as {taken[row.group]}')
                continue
            sample = self._sample(row, faults)
            if sample is not None:
                samples.append(sample)
        faults.check(self._advice(rows) if 'unknown_class' in faults.found else '')
        if not samples:
            raise ValueError(f'{self.annotations} has no usable line: {faults.counts()}')
        self.faults = faults.counts()
        for sentence in faults.lines(self.allow):
            print_log(f'{self.annotations}: {sentence}', logger='current')
        return samples

    def _demand_file(self) -> None:
        if not self.annotations.is_file():
            raise FileNotFoundError(
                f'{self.annotations} does not exist (seen from {Path.cwd()}). {self.how_to_get()}'
            )

    def _groups_of_others(self) -> dict[str, str]:
        """File of each group that another split has."""
        groups = {}
        for name in self.apart_from:
            other = self.split_of(name)
            if other.annotations == self.annotations:
                raise ValueError(f'{self.annotations} cannot be apart from itself: apart_from')
            other._demand_file()
            for row in other.read(lambda line, why: None):  # of its lines the split itself tells
                groups.setdefault(row.group, other.annotations.name)
        return groups

    def _sample(self, row: Row, faults: Faults) -> dict[str, Any] | None:
        """A row as a sample, or None where a fault leaves it out."""
        usable = True
        for task, names in self.classes.items():
            if row.labels[task] not in names:
                faults.add('unknown_class', row.line, f'{task} {row.labels[task]!r}')
                usable = False
        if not row.image.is_file():
            faults.add('missing_image', row.line, str(row.image))
            usable = False
        text = (row.text or '').strip()
        if PLACEHOLDER.fullmatch(text):
            faults.add('empty_text', row.line, repr(text))
            text = ''
        if not usable:
            return None
        labels = {f'{t}_label': names.index(row.labels[t]) for t, names in self.classes.items()}
        return dict(img_path=str(row.image), text=text, sample_id=row.id, group=row.group, **labels)

    def _advice(self, rows: list[Row]) -> str:
        found = {task: sorted({row.labels[task] for row in rows}) for task in self.classes}
        pasted = ', '.join(f'{task}={names!r}' for task, names in found.items())
        return f'Classes of the file, ready to paste:\nclasses = dict({pasted})'
