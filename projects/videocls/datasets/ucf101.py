"""UCF101's layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from videocls.datasets.video_list import VideoListDataset


@DATASETS.register_module()
class UCF101Dataset(VideoListDataset):
    """UCF101 as it is distributed, or a data set in its layout such as ``videosim``.

    ::

        UCF-101/<Class>/v_<Class>_g01_c01.avi
        ucfTrainTestlist/classInd.txt          "1 ApplyEyeMakeup"
        ucfTrainTestlist/trainlist01.txt       "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1"
        ucfTrainTestlist/testlist01.txt        the same without labels

    Source: Soomro et al., "UCF101: A Dataset of 101 Human Actions Classes From Videos in The
    Wild", CRCV-TR-12-01, 2012.

    Config lines::

        dataset=dict(
            type='UCF101Dataset', data_root='data/ucf101',
            ann_file='ucfTrainTestlist/trainlist01.txt', pipeline=[...])

    Args:
        ann_file: Of a split, below ``data_root``.
        class_file: Below ``data_root``.
        data_prefix: As of :class:`~videocls.datasets.VideoListDataset`.
        **kwargs: The same.
    """

    def __init__(
        self,
        ann_file: str,
        class_file: str = 'ucfTrainTestlist/classInd.txt',
        data_prefix: dict | None = None,
        **kwargs: Any,
    ) -> None:
        self.class_file = Path(kwargs.get('data_root') or '') / class_file
        super().__init__(ann_file, data_prefix=data_prefix or dict(video='UCF-101'), **kwargs)

    def read_classes(self) -> tuple[str, ...]:
        if not self.class_file.is_file():
            raise FileNotFoundError(f'no list of classes at {self.class_file}')
        rows = [line.split() for line in self.class_file.read_text().splitlines() if line.strip()]
        wrong = [row for n, row in enumerate(rows, 1) if len(row) != 2 or row[0] != str(n)]
        if wrong:
            raise ValueError(f'{self.class_file} counts classes from 1, found {wrong[0]}')
        return self.agreed_classes([name for _, name in rows], str(self.class_file))

    def read_list(self, classes: Sequence[str]) -> Iterator[tuple[str, int]]:
        labels = {name: label for label, name in enumerate(classes)}
        for number, line in self.lines():
            path, *given = line.split()
            name = Path(path).parent.name
            if name not in labels or given not in ([], [str(labels[name] + 1)]):
                raise ValueError(
                    f'{self.ann_file}, line {number}: {line!r} does not agree with the '
                    f'{len(classes)} classes of {self.class_file}'
                )
            yield path, labels[name]
