"""Wound-1-0: photos of wounds with descriptions."""

from __future__ import annotations

import copy
import csv
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from medvl.datasets.image_text import ImageTextDataset, Row


@DATASETS.register_module()
class WoundDataset(ImageTextDataset):
    """Photos listed in a table, as Wound-1-0 or any other with one row a photo.

    Config lines::

        dataset=dict(
            type='WoundDataset', data_root='data/Wound-1-0/', ann_file='metadata_train.csv',
            labels=dict(wound_type='type', severity='severity'),
            classes=dict(wound_type=['abrasion', ...], severity=['mild', ...]), pipeline=[...])

    Args:
        ann_file: The table, relative to ``data_root``.
        classes: Names of the classes of each task.
        labels: Column of each task's label, by the task's name.
        image: Column of the image's file name, relative to ``images/``.
        text: Column of the description.
        group: Column of what splits must not tear apart, as the patient; none in Wound-1-0.
        allow: Kinds of faults that are no error, see :class:`ImageTextDataset`.
        **kwargs: As in :class:`ImageTextDataset`.

    Raises:
        FileNotFoundError: The table does not exist.
        ValueError: It lacks a column, or its lines have faults.
    """

    def __init__(
        self,
        ann_file: str,
        classes: Mapping[str, Sequence[str]],
        labels: Mapping[str, str],
        image: str = 'file_path',
        text: str = 'description',
        group: str | None = None,
        allow: Collection[str] = (),
        **kwargs: Any,
    ) -> None:
        if set(classes) != set(labels):
            raise ValueError(f'classes are of {list(classes)}, labels of {list(labels)}')
        if text in labels.values():
            raise ValueError(f'column {text!r} is a label: it cannot be the text')
        self._columns = dict(image=image, text=text, group=group or image, **_prefixed(labels))
        super().__init__(classes=classes, allow=allow, ann_file=ann_file, **kwargs)

    @property
    def annotations(self) -> Path:
        """The table."""
        return Path(self.ann_file)

    def split_of(self, name: str) -> WoundDataset:
        """Return a copy that reads another table below ``data_root``."""
        other = copy.copy(self)
        other.ann_file = str(Path(self.data_root or '') / name)
        return other

    def how_to_get(self) -> str:
        """Say where the data set comes from."""
        return (
            'Put metadata_{train,dev,test}.csv and images/ into data_root, or generate the '
            'embedded set: python tools/create_medsim.py --out data/medsim'
        )

    def read(self, broken: Callable[[int, str], None]) -> Iterator[Row]:
        """Yield the photos."""
        with self.annotations.open(newline='', encoding='utf-8') as file:
            table = csv.DictReader(file)
            missing = sorted(set(self._columns.values()) - set(table.fieldnames or ()))
            if missing:
                raise ValueError(
                    f'{self.annotations} has no column {missing}; it has {table.fieldnames}: name '
                    'its columns by labels=dict(...), image=, text=, group='
                )
            width = len(table.fieldnames or ())
            for row in table:
                if None in row or None in row.values():
                    extra = len(row.get(None) or ()) - sum(v is None for v in row.values())
                    broken(table.line_num, f'{width + extra} columns, expected {width}')
                    continue
                value = {name: row[column] for name, column in self._columns.items()}
                yield Row(
                    table.line_num,
                    id=value['image'],
                    image=Path(self.data_root or '') / 'images' / value['image'],
                    text=value['text'],
                    labels={task: value[f'label_{task}'] for task in self.classes},
                    group=value['group'],
                )


def _prefixed(labels: Mapping[str, str]) -> dict[str, str]:
    return {f'label_{task}': column for task, column in labels.items()}
