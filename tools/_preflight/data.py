"""Are the data sets there, and do their samples load?"""

from __future__ import annotations

import statistics
import time
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.registry import DATASETS

from tools._common import check_data
from tools._preflight.findings import Finding, Skip, failed, ok, warning
from tools._preflight.state import SPLITS, State, leaf_dataset

RANDOM_SAMPLES = 20


def check_files(state: State) -> Iterator[Finding]:
    """The info files are there and readable; builds the data sets."""
    last_cure = ''
    for split, loader in SPLITS.items():
        if not state.loader(split):
            continue
        try:
            check_data(state.cfg, loaders=(loader,))
        except (FileNotFoundError, ValueError) as error:
            what, _, cure = str(error).partition('\n')
            yield failed(f'{split}: {what}', cure if cure != last_cure else '(the same)')
            last_cure = cure
            continue
        dataset = DATASETS.build(state.loader(split)['dataset'])
        if not len(dataset):
            yield failed(
                f'{split}: the data set is empty', 'Write its info files again, or mend its filter.'
            )
            continue
        state.datasets[split] = dataset
        yield ok(f'{split}: {len(dataset)} samples in {_where(state.loader(split)["dataset"])}')


def check_samples(state: State) -> Iterator[Finding]:
    """The first, the last and some random samples of each split pass its pipeline."""
    if not state.datasets:
        raise Skip('no data set is there')
    for split, dataset in state.datasets.items():
        indices = some_indices(len(dataset), RANDOM_SAMPLES)
        seconds, boxes = [], []
        for index in indices:
            start = time.perf_counter()
            try:
                boxes.append(count_boxes(dataset[index]))
            except Exception as error:  # whatever a transform or a reader raises
                yield failed(
                    f'{split}: sample {index} does not load: {type(error).__name__}: {error}',
                    _sample_cure(error),
                )
                break
            seconds.append(time.perf_counter() - start)
        else:
            state.sample_s[split] = statistics.median(seconds)
            text = (
                f'{split}: {len(indices)} samples load, {1000 * state.sample_s[split]:.0f} ms each'
            )
            if split == 'train' and set(boxes) == {0}:
                yield warning(
                    f'{text}, none of them with a box',
                    'Compare the classes in metainfo and the range filters with the info files.',
                )
            else:
                yield ok(text)


def count_boxes(sample: Any) -> int | None:
    """Boxes to learn in a training sample; None where it is not of that kind."""
    data = sample.get('data_samples') if isinstance(sample, dict) else None
    truth = getattr(data, 'gt_instances_3d', None)
    return None if truth is None else len(truth)


def some_indices(length: int, count: int) -> list[int]:
    """The first, the last and ``count`` random indices, the same in every call, ascending."""
    drawn = np.random.RandomState(0).permutation(length)[:count].tolist()
    return sorted({0, length - 1, *drawn})


def _sample_cure(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return (
            'The info files name a file that is not there: complete the download, or mend '
            'data_prefix, or write the info files again with tools/create_data.py.'
        )
    raised = traceback.extract_tb(error.__traceback__)[-1]
    return f'Raised in {raised.filename}:{raised.lineno}.'


def _where(dataset: Any) -> str:
    dataset = leaf_dataset(dataset)
    return str(dataset.get('data_root') or dataset.get('ann_file') or dataset.get('type'))
