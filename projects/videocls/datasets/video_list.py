"""Videos and labels in a text file."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from videocls.video import VideoError, check_video

_SHOWN = 5


@DATASETS.register_module()
class VideoListDataset(BaseDataset):
    """Videos that a text file lists, one a line: ``<path> <label>``, labels from 0.

    That is how MMAction2 lists Kinetics and others. A sample of the pipeline begins as
    ``dict(path, label, sample_idx)``.

    Config lines::

        train_dataloader = dict(dataset=dict(
            type='VideoListDataset', data_root='data/actions', ann_file='train.txt',
            data_prefix=dict(video='videos'), classes=['walk', 'run'], pipeline=[...]))

    Args:
        ann_file: The list, below ``data_root``.
        classes: Names of the classes in the order of the labels; where the data set's own files
            name them, these must agree.
        data_prefix: ``video``: folder of the videos, below ``data_root``.
        skip_broken: Read every video once when the data set is built, and leave out those that
            are missing or damaged; they are counted and named in the log. By default nothing is
            read beforehand, and such a video is an error when its turn comes.
        **kwargs: Of MMEngine's ``BaseDataset``.

    Raises:
        ValueError: A line of a list is no line of this format, or names an unknown class.
        VideoError: From a sample, where a video cannot be read.
    """

    def __init__(
        self,
        ann_file: str,
        classes: Sequence[str] | None = None,
        data_prefix: dict | None = None,
        skip_broken: bool = False,
        **kwargs: Any,
    ) -> None:
        self.given_classes = None if classes is None else tuple(classes)
        self.skip_broken = skip_broken
        super().__init__(ann_file=ann_file, data_prefix=data_prefix or dict(video=''), **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the list.

        Raises:
            FileNotFoundError: There is no such file.
        """
        if not Path(self.ann_file).is_file():
            raise FileNotFoundError(
                f'{type(self).__name__} has no list {self.ann_file} (seen from {Path.cwd()})'
            )
        classes = self.read_classes()
        self._metainfo['classes'] = classes
        samples = [
            dict(path=str(Path(self.data_prefix['video']) / path), label=label)
            for path, label in self.read_list(classes)
        ]
        if not samples:
            raise ValueError(f'{self.ann_file} lists no videos')
        return self._whole(samples) if self.skip_broken else samples

    def read_classes(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        if self.given_classes is None:
            raise ValueError(
                f'{type(self).__name__} needs classes=[...], the names in the order of the labels'
            )
        return self.given_classes

    def read_list(self, classes: Sequence[str]) -> Iterator[tuple[str, int]]:
        """Yield path and label of each video."""
        for number, line in self.lines():
            path, _, label = line.rpartition(' ')
            if not path or not label.isdigit() or int(label) >= len(classes):
                raise ValueError(
                    f'{self.ann_file}, line {number}: expected "<path> <label>" with a label from '
                    f'0 to {len(classes) - 1}, got {line!r}'
                )
            yield path, int(label)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield number and text of the list's lines that hold something."""
        with open(self.ann_file, encoding='utf-8') as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.strip()

    def agreed_classes(self, own: Sequence[str], source: str) -> tuple[str, ...]:
        """Return the classes that the data set's files name, which a config's must equal."""
        own = tuple(own)
        if self.given_classes not in (None, own):
            raise ValueError(
                f'the config names {len(self.given_classes)} classes that are not those of '
                f'{source}; leave classes out, or paste classes={list(own)}'
            )
        return own

    def _whole(self, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        whole, broken = [], []
        for sample in samples:
            try:
                check_video(sample['path'])
            except VideoError as error:
                broken.append(str(error))
            else:
                whole.append(sample)
        if not whole:
            raise VideoError(f'none of {len(samples)} videos can be read; the first: {broken[0]}')
        if broken:
            shown = '\n  '.join(broken[:_SHOWN])
            print_log(
                f'{self.ann_file}: {len(broken)} of {len(samples)} videos are left out:\n  {shown}'
                + ('\n  ...' if len(broken) > _SHOWN else ''),
                logger='current',
                level=logging.WARNING,
            )
        self._metainfo['num_broken'] = len(broken)
        return whole
