"""Models and frames of configs, ready to be measured."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import DATASETS, MODELS
from torch import nn

from mmdistill.distiller import Distiller
from mmdistill.teacher import load_strictly
from mmdistill.utils.checkpoint import load_weights


def load_model(cfg: Config, checkpoint: str | None, device: str | None = None) -> nn.Module:
    """Build a config's model for evaluation.

    Args:
        cfg (Config): its ``model`` is built.
        checkpoint (str, optional): weights to load, strictly; a distiller needs its student's.
        device (str, optional): this machine's, where none is named.
    """
    model = MODELS.build(cfg.model)
    if checkpoint is not None:
        weights = load_weights(checkpoint)['state_dict']
        tested = model.student if isinstance(model, Distiller) else model
        load_strictly(tested, weights, f'checkpoint ({checkpoint})')
    return model.to(device or get_device()).eval()


def load_frames(cfg: Config, frames: int) -> list[dict[str, Any]]:
    """Load frames spread evenly over a config's test data, as batches of one.

    Args:
        cfg (Config): its ``test_dataloader.dataset`` is built.
        frames (int): how many; all of them where there are fewer.
    """
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    number = min(frames, len(dataset))
    indices = [round(i * (len(dataset) - 1) / max(number - 1, 1)) for i in range(number)]
    return [pseudo_collate([dataset[index]]) for index in indices]
