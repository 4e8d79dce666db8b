"""Kinetics' layout."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

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
        classes: As of :class:`~videocls.datasets.VideoListDataset`; by default the labels of the
            table in alphabetic order.
        data_prefix: The same.
        **kwargs: The same.
    """

    def read_classes(self) -> tuple[str, ...]:
        found = sorted({row['label'] for row in self._rows()})
        if self.given_classes is None:
            return tuple(found)
        unknown = sorted(set(found) - set(self.given_classes))
        if unknown:
            raise ValueError(
                f'{self.ann_file} has the labels {unknown}, which classes does not name; it has '
                f'classes={found}'
            )
        return self.given_classes

    def read_list(self, classes: Sequence[str]) -> Iterator[tuple[str, int]]:
        labels = {name: label for label, name in enumerate(classes)}
        for row in self._rows():
            begin, end = int(row['time_start']), int(row['time_end'])
            name = f'{row["youtube_id"]}_{begin:06d}_{end:06d}.mp4'
            yield f'{row["label"]}/{name}', labels[row['label']]

    def _rows(self) -> Iterator[dict[str, str]]:
        with open(self.ann_file, encoding='utf-8', newline='') as file:
            table = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                raise ValueError(f'{self.ann_file} has no columns {missing}, expected {_COLUMNS}')
            yield from table
