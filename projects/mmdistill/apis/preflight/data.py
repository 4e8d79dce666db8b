"""Are the data sets there, and do their samples load?"""

from __future__ import annotations

import statistics
import time
import traceback
from collections.abc import Iterator
from typing import Any

from mmengine.registry import DATASETS

from mmdistill.apis.checks import check_data
from mmdistill.apis.preflight.findings import Finding, Skip, failed, ok, warning
from mmdistill.apis.preflight.state import SPLITS, State, leaf_dataset, some_indices

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
        seconds, targets = [], []
        for index in indices:
            start = time.perf_counter()
            try:
                targets.append(state.domain.count_targets(dataset[index]))
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
            if split == 'train' and set(targets) == {0}:
                yield warning(
                    f'{text}, none of them with {state.domain.target}',
                    'Compare the classes in metainfo and the range filters with the info files.',
                )
            else:
                yield ok(text)


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
