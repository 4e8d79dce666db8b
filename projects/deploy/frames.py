"""Clouds to calibrate and check exports with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

from deploy.detector import check_time_lag

FRAME_COLUMNS = ('x', 'y', 'z', 'intensity', 'ring')


def clouds_of_config(cfg: Config, number: int, of_training: bool = False) -> list[np.ndarray]:
    """Clouds spread evenly over a config's data, as its test pipeline makes them.

    Args:
        cfg: Its ``test_dataloader.dataset`` is built.
        number: How many; all of them where there are fewer.
        of_training: Take the samples of the training data, still without augmentation.

    Returns:
        (N, columns) float32 each.

    Raises:
        FileNotFoundError: The data set is not there.
        ValueError: The config names no training data.
    """
    from mmdet3d.registry import DATASETS

    if not number:
        return []
    init_default_scope(cfg.get('default_scope', 'mmdet3d'))
    options = cfg.test_dataloader.dataset.to_dict()
    if of_training:
        options['ann_file'] = _training_file(cfg)
    dataset = DATASETS.build(options)
    number = min(number, len(dataset))
    places = np.linspace(0, len(dataset) - 1, number).round().astype(int).tolist()
    clouds = [dataset[place]['inputs']['points'] for place in places]
    return [np.asarray(cloud, np.float32) for cloud in clouds]


def _training_file(cfg: Config) -> str:
    """Info file of the training data, beneath wrappers that sample it."""
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    while 'ann_file' not in dataset and 'dataset' in dataset:
        dataset = dataset['dataset']
    if 'ann_file' not in dataset:
        raise ValueError('the config has no training data to calibrate with; give --points')
    return dataset['ann_file']


def clouds_of_files(
    paths: Sequence[str | Path], columns: Sequence[str], are_sweeps: bool = False
) -> list[np.ndarray]:
    """Clouds as float32 files hold them, one point after the other.

    Args:
        paths: The files.
        columns: What the numbers of a point are.
        are_sweeps: Whether each is one sweep, whose points are all of age 0, whatever is there.

    Raises:
        ValueError: A file does not hold whole points, or no age of them.
    """
    clouds, columns = [], list(columns)
    for path in paths:
        numbers = np.fromfile(path, np.float32)
        if len(numbers) % len(columns):
            raise ValueError(
                f'{path} has {len(numbers)} numbers, no multiple of {len(columns)} columns: '
                f'{", ".join(columns)}'
            )
        cloud = numbers.reshape(-1, len(columns))
        if are_sweeps and 'time_lag' in columns:
            cloud[:, columns.index('time_lag')] = 0
        try:
            check_time_lag(cloud, columns)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error
        clouds.append(cloud)
    return clouds


def columns_of(cfg: Config, number: int) -> list[str]:
    """What the numbers of a point are, by the loading steps of a config's test data.

    Args:
        cfg: Its ``test_dataloader.dataset.pipeline`` is read.
        number: Numbers per point that the detector reads.
    """
    names: list[str] = []
    for step in cfg.test_dataloader.dataset.get('pipeline') or ():
        kind = str(step['type']).rpartition('.')[2]
        if kind == 'LoadPointsFromFile':
            names = _used(_named(step.get('load_dim', 6)), step.get('use_dim', [0, 1, 2]))
        elif kind == 'LoadPointsFromMultiSweeps':
            names = names or _named(5)
            names[4:5] = ['time_lag']  # what it writes over
            names = _used(names, step.get('use_dim', [0, 1, 2, 4]))
    names = names or _named(number)
    return [*names, *(f'feature_{index}' for index in range(len(names), number))][:number]


def _named(number: int) -> list[str]:
    """Names of the numbers of a point as files hold them."""
    further = (f'feature_{index}' for index in range(len(FRAME_COLUMNS), number))
    return [*FRAME_COLUMNS, *further][:number]


def _used(names: list[str], use_dim: int | Sequence[int]) -> list[str]:
    """Names of what a loading step keeps of a point."""
    return [names[index] for index in (range(use_dim) if isinstance(use_dim, int) else use_dim)]
