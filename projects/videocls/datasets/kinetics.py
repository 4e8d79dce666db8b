"""Kinetics' layout."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from videocls.datasets.video_list import VideoListDataset

_COLUMNS = ('label', 'youtube_id', 'time_start', 'time_end')


@DATASETS.register_module()
class KineticsDataset(VideoListDataset):
    """Kinetics-400, -600 and -700 by their tables, or a data set in that layout.

    ::

        train.csv                                 label,youtube_id,time_start,time_end,...
        videos/train/<label>/<youtube_id>_000010_000020.mp4

    Many of its videos are gone: give ``skip_broken=True``, or a list of those that are there.

    Source: Kay et al., "The Kinetics Human Action Video Dataset", arXiv:1705.06950, 2017.

    Config lines::

        dataset=dict(
            type='KineticsDataset', data_root='data/kinetics400', ann_file='train.csv',
            data_prefix=dict(video='videos/train'), pipeline=[...])

    Args:
        ann_file: Table of a split, below ``data_root``.
        class_table: Table below ``data_root`` whose labels, in alphabetic order, are the classes:
            one for all splits, since a split may lack some.
        **kwargs: As of :class:`~videocls.datasets.VideoListDataset`: ``classes`` (instead of that
            table), ``data_prefix`` and more.
    """

    def __init__(self, ann_file: str, class_table: str = 'train.csv', **kwargs: Any) -> None:
        self.class_table = class_table
        super().__init__(ann_file, **kwargs)

    def read_classes(self) -> tuple[str, ...]:
        classes, table = self.given_classes, Path(self.data_root or '', self.class_table)
        if classes is None and not table.is_file():
            raise ValueError(
                f'{table} does not exist, whose labels are the classes of all splits: name it by '
                'class_table, or give classes=[...]'
            )
        if classes is None:
            classes = tuple(sorted({row['label'] for row in self._rows(table)}))
        found = sorted({row['label'] for row in self._rows(self.ann_file)})
        unknown = sorted(set(found) - set(classes))
        if unknown:
            source = table if self.given_classes is None else 'classes'
            raise ValueError(
                f'{self.ann_file} has the labels {unknown}, which {source} does not name; it has '
                f'classes={found}'
            )
        return classes

    def read_list(self, classes: Sequence[str]) -> Iterator[tuple[str, int]]:
        labels = {name: label for label, name in enumerate(classes)}
        for row in self._rows(self.ann_file):
            begin, end = int(row['time_start']), int(row['time_end'])
            name = f'{row["youtube_id"]}_{begin:06d}_{end:06d}.mp4'
            yield f'{row["label"]}/{name}', labels[row['label']]

    def _rows(self, path: str | Path) -> Iterator[dict[str, str]]:
        with open(path, encoding='utf-8', newline='') as file:
            table = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                raise ValueError(f'{path} has no columns {missing}, expected {_COLUMNS}')
            yield from table
