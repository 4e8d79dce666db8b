"""Frames to look at: of info files alone, or as a config's model gets and sees them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mmdet3d.datasets  # noqa: F401  (registers the data sets)
import numpy as np
import torch
from mmdet3d.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import nn

from mmdistill.analysis.frames import load_model
from mmdistill.apis import check_checkpoint, check_data
from mmdistill3d.visualization.bev import Boxes, Frame


def frames_of_infos(
    root: Path, split: str, indices: Sequence[int]
) -> tuple[Iterator[Frame], Sequence[str]]:
    """Frames of a data set in nuScenes' form, with their sweeps; no model and no config.

    Args:
        root (Path): folder with ``nuscenes_infos_<split>.pkl``, ``samples/`` and ``sweeps/``.
        split (str): ``'train'`` or ``'val'``.
        indices (Sequence[int]): of frames in the split.

    Returns:
        tuple: the frames, and the class names.

    Raises:
        ValueError: there is no such split.
        IndexError: the split has fewer frames.
    """
    if split not in ('train', 'val'):
        raise ValueError(f'a data set has infos of the splits train and val, not {split}')
    with open(root / f'nuscenes_infos_{split}.pkl', 'rb') as file:
        content = pickle.load(file)
    infos = content['data_list']
    _check_indices(indices, len(infos))
    frames = (_frame_of_info(root, split, infos[index]) for index in indices)
    return frames, tuple(content['metainfo']['categories'])


def _frame_of_info(root: Path, split: str, info: dict) -> Frame:
    keyframe = root / 'samples' / 'LIDAR_TOP' / info['lidar_points']['lidar_path']
    clouds = [np.fromfile(keyframe, np.float32).reshape(-1, 5)[:, :3]]
    for sweep in info.get('lidar_sweeps', []):
        points = np.fromfile(root / sweep['lidar_points']['lidar_path'], np.float32)
        sweep2key = np.linalg.inv(sweep['lidar_points']['lidar2sensor'])
        clouds.append(points.reshape(-1, 5)[:, :3] @ sweep2key[:3, :3].T + sweep2key[:3, 3])
    boxes = np.array([item['bbox_3d'] for item in info['instances']]).reshape(-1, 7)
    labels = np.array([item['bbox_label_3d'] for item in info['instances']], int)
    name = f'{root.name} {split} {info["sample_idx"]}'
    return Frame(name, np.concatenate(clouds), Boxes(boxes, labels))


def frames_of_config(
    cfg: Config,
    split: str,
    indices: Sequence[int],
    checkpoint: str | None = None,
    score_thr: float = 0.2,
    device: str | None = None,
) -> tuple[Iterator[Frame], Sequence[str]]:
    """Frames as the model of a config gets them, with its predictions if there is a checkpoint.

    Args:
        cfg (Config): of a run.
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        indices (Sequence[int]): of frames in the split.
        checkpoint (str, optional): path or URL of the model's weights.
        score_thr (float): lowest score that is shown.
        device (str, optional): of the model; this machine's where none is named.

    Returns:
        tuple: the frames, and the class names.

    Raises:
        FileNotFoundError: the data or the checkpoint is missing.
        ValueError: the config has no data loader for the split.
        IndexError: the split has fewer frames.
    """
    if checkpoint:
        check_checkpoint(checkpoint)
    dataset = build_dataset(cfg, split)
    _check_indices(indices, len(dataset))
    model = load_model(cfg, checkpoint, device) if checkpoint else None
    name = f'{Path(cfg.filename).stem} {split}'
    frames = (
        frame_of_dataset(dataset, index, f'{name} {index}', model, score_thr) for index in indices
    )
    return frames, dataset.metainfo['classes']


def build_dataset(cfg: Config, split: str) -> Any:
    """Build a split's innermost data set, with the pipeline of the test.

    Raises:
        FileNotFoundError: The data are missing.
        ValueError: The config has no data loader for the split.
    """
    loader = f'{split}_dataloader'
    if cfg.get(loader) is None or cfg.get('test_dataloader') is None:
        raise ValueError(f'{cfg.filename} has no {loader} or no test_dataloader to draw from')
    check_data(cfg, loaders=(loader,))
    dataset = cfg[loader].dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    pipeline = cfg.test_dataloader.dataset.pipeline
    return DATASETS.build({**dataset, 'pipeline': pipeline, 'test_mode': True})


def frame_of_dataset(
    dataset: Any, index: int, name: str, model: nn.Module | None, score_thr: float
) -> Frame:
    """Take one frame through the test pipeline, and through a model if there is one.

    Args:
        dataset (Any): as :func:`build_dataset` returns it.
        index (int): of the frame.
        name (str): of the frame.
        model (nn.Module, optional): a detector in eval mode.
        score_thr (float): lowest score of its predictions.
    """
    truth = dataset.get_data_info(index)['eval_ann_info']
    boxes = Boxes(truth['gt_bboxes_3d'].tensor.numpy(), np.asarray(truth['gt_labels_3d']))
    boxes.boxes[:, 2] += boxes.boxes[:, 5] / 2
    data = dataset[index]
    predictions = None if model is None else detect(model, data, score_thr)
    return Frame(name, data['inputs']['points'].numpy(), boxes, predictions)


@torch.no_grad()
def detect(model: nn.Module, data: dict[str, Any], score_thr: float) -> Boxes:
    """Return what a detector finds in one frame as its data set gives it."""
    found = model.test_step(pseudo_collate([data]))[0].pred_instances_3d.cpu()
    found = found[found.scores_3d >= score_thr]
    return Boxes(found.bboxes_3d.tensor.numpy(), found.labels_3d.numpy(), found.scores_3d.numpy())


def _check_indices(indices: Sequence[int], length: int) -> None:
    wrong = [index for index in indices if not 0 <= index < length]
    if wrong:
        raise IndexError(f'--index {wrong[0]}: the split has frames 0 to {length - 1}')
