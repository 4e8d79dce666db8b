"""The data set below its wrappers, by whose indices memory banks are keyed."""

from __future__ import annotations

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
