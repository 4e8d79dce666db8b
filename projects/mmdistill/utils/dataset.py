"""The data set below its wrappers, by whose indices memory banks are keyed, and its info file."""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Any

from mmengine.dataset import ConcatDataset


def original_length(dataset: Any) -> int:
    """Return the number of samples below CBGS, repetition and the like; concatenated ones add up.

    Args:
        dataset: A data set, or a wrapper with ``dataset`` or ``datasets``.
    """
    if isinstance(dataset, ConcatDataset):
        return sum(original_length(part) for part in dataset.datasets)
    return original_length(dataset.dataset) if hasattr(dataset, 'dataset') else len(dataset)


def number_samples(dataset: Any) -> int:
    """Let ``sample_idx`` count through concatenated data sets, each of which counts from 0.

    Samples of the second data set and later ones get their ``sample_idx`` raised by the lengths of
    those before, on their way out of the ``ConcatDataset``. Other data sets are left as they are.

    Args:
        dataset: A data set, or a wrapper with ``dataset`` or ``datasets``.

    Returns:
        The length of all, as :func:`original_length`.
    """
    if isinstance(dataset, ConcatDataset):
        first = 0
        for position, part in enumerate(dataset.datasets):
            length = number_samples(part)
            if first and not isinstance(part, RaisedSamples):
                dataset.datasets[position] = RaisedSamples(part, first)
            first += length
        return first
    if hasattr(dataset, 'dataset'):
        return number_samples(dataset.dataset)
    return len(dataset)


def check_info_file(path: str | Path) -> None:
    """Refuse an info file from before MMEngine's data sets; only its first bytes are read.

    Args:
        path: A pickle, ``dict(metainfo=..., data_list=[...])``; other files are not looked at.

    Raises:
        ValueError: It holds something else, as the files of MMDetection3D 1.0 do.
    """
    first = _first_item(path) if Path(path).suffix in ('.pkl', '.pickle') else None
    if first in (None, 'metainfo', 'data_list'):
        return
    found = 'a list' if first == '[' else f'a dict that begins with {first!r}'
    raise ValueError(
        f'{path} holds {found}; MMEngine reads dict(metainfo=..., data_list=[...]), and '
        'MMDetection3D before 1.1 wrote lists, or dicts of infos and metadata. Write it anew with '
        "tools/create_data.py, or convert it with MMDetection3D's "
        'tools/dataset_converters/update_infos_to_v2.py'
    )


def _first_item(path: str | Path) -> str | None:
    """First key of a pickled dict, or ``'['`` of a list; None where the file is cut off before."""
    with open(path, 'rb') as file:
        try:
            for operation, argument, _ in pickletools.genops(file):
                if operation.name in ('EMPTY_LIST', 'LIST'):
                    return '['
                if isinstance(argument, str):
                    return argument
        except ValueError:  # reading all of it will say so
            pass
    return None


class RaisedSamples:
    """A data set whose samples have their ``sample_idx`` raised; otherwise it is that data set.

    Args:
        dataset: The data set.
        first: What is added to ``sample_idx``.
    """

    def __init__(self, dataset: Any, first: int) -> None:
        self.dataset, self.first = dataset, first

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> Any:
        packed = self.dataset[position]
        sample = packed.get('data_samples') if isinstance(packed, dict) else None
        index = getattr(sample, 'sample_idx', None)
        if index is not None:
            sample.set_metainfo(dict(sample_idx=int(index) + self.first))
        return packed

    def __getattr__(self, name: str) -> Any:
        # Copies and unpickled objects ask before `dataset` is there.
        if name.startswith('__') or 'dataset' not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.dataset, name)
