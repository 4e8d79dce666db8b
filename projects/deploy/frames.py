"""Clouds to calibrate and check exports with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

SWEEP_COLUMNS = ('x', 'y', 'z', 'intensity', 'time_lag')
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


def clouds_of_files(paths: Sequence[str | Path], columns: int) -> list[np.ndarray]:
    """Clouds as float32 files hold them, one point after the other.

    Raises:
        ValueError: A file does not hold whole points.
    """
    clouds = []
    for path in paths:
        numbers = np.fromfile(path, np.float32)
        if len(numbers) % columns:
            raise ValueError(f'{path} has {len(numbers)} numbers, no multiple of {columns} columns')
        clouds.append(numbers.reshape(-1, columns))
    return clouds


def columns_of(cfg: Config, number: int) -> list[str]:
    """What the numbers of a point are, by the loading steps of a config's test data.

    Args:
        cfg: Its ``test_dataloader.dataset.pipeline`` is read.
        number: Numbers per point that the detector reads.
    """
    steps: list[dict[str, Any]] = list(cfg.test_dataloader.dataset.get('pipeline') or ())
    has_sweeps = any(step['type'] == 'LoadPointsFromMultiSweeps' for step in steps)
    names = list(SWEEP_COLUMNS if has_sweeps else FRAME_COLUMNS)
    names += [f'feature_{index}' for index in range(len(names), number)]
    return names[:number]
