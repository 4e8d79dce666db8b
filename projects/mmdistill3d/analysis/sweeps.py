"""Single sweeps and frames that lie in files of their own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.config import Config
from mmengine.registry import DATASETS


def load_sweep(path: Path, load_dim: int) -> dict[str, Any]:
    """Load one sweep as a batch of one.

    Args:
        path (Path): float32 numbers, ``load_dim`` a point. A fifth is the beam's number in
            nuScenes' files; it becomes 0, the age of a sweep that stands alone.
        load_dim (int): numbers per point.

    Raises:
        ValueError: the file does not hold whole points.
    """
    numbers = np.fromfile(path, np.float32)
    if len(numbers) == 0 or len(numbers) % load_dim:
        raise ValueError(f'{path} has {len(numbers)} numbers, no multiple of --load-dim {load_dim}')
    points = torch.from_numpy(numbers.reshape(-1, load_dim))
    points[:, 4:5] = 0
    sample = Det3DDataSample(metainfo=dict(box_type_3d=LiDARInstance3DBoxes, sample_idx=0))
    return {'inputs': {'points': [points]}, 'data_samples': [sample]}


def load_frame(cfg: Config, infos: Path) -> dict[str, Any]:
    """The first frame of an info file through the config's training pipeline, without pasting.

    Args:
        cfg: A config whose training data set reads nuScenes.
        infos: The info file; its point files lie beside it.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not infos.is_file():
        raise FileNotFoundError(f'there is no info file {infos} (seen from {Path.cwd()})')
    dataset = copy.deepcopy(cfg.train_dataloader.dataset)
    dataset = dataset.get('dataset', dataset)
    dataset.update(
        data_root=str(infos.parent),
        ann_file=infos.name,
        data_prefix=dict(pts='', sweeps=''),
        pipeline=[step for step in dataset.pipeline if step.type != 'ObjectSample'],
    )
    return DATASETS.build(dataset)[0]
