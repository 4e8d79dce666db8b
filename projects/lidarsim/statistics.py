"""Counts per class of a data set."""

import pickle
from pathlib import Path

import numpy as np

from lidarsim.manifest import verify_dataset
from nuscenes_infos import CLASSES


def statistics_table(path: str | Path) -> str:
    """Markdown table: boxes, boxes without points, median points and speed, by class and split.

    Args:
        path: Folder of a complete data set.

    Raises:
        FileNotFoundError: If the data set is not complete.
    """
    verify_dataset(path)
    columns, notes = [], []
    for split in ('train', 'val'):
        with open(Path(path) / f'nuscenes_infos_{split}.pkl', 'rb') as file:
            frames = pickle.load(file)['data_list']
        boxes = [box for frame in frames for box in frame['instances']]
        columns.append([_describe(boxes, label) for label in range(len(CLASSES))])
        notes.append(f'{split}: {len(frames)} frames, {len(boxes) / len(frames):.1f} boxes a frame')
    rows = [
        '| class | train boxes | no points | median points | moving | val boxes | no points '
        '| median points | moving |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    rows += [
        f'| {name} | {train} | {val} |' for name, train, val in zip(CLASSES, *columns, strict=True)
    ]
    return '\n'.join([*rows, '', '; '.join(notes)])


def _describe(boxes: list[dict], label: int) -> str:
    points = np.array([b['num_lidar_pts'] for b in boxes if b['bbox_label_3d'] == label])
    speed = np.array([np.hypot(*b['velocity']) for b in boxes if b['bbox_label_3d'] == label])
    if not len(points):
        return '0 | - | - | -'
    median = np.median(points[points > 0]) if (points > 0).any() else 0
    return f'{len(points)} | {(points == 0).mean():.0%} | {median:.0f} | {(speed > 0.3).mean():.0%}'
