"""Accuracy of an export on a data set, by the metrics of a config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmdet3d.registry import MODELS
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import InstanceData

from deploy.detector import Detector


@MODELS.register_module()
class ExportedDetector(BaseModel):
    """An export in the place of a model, so that MMEngine's test loop runs it.

    Args:
        folder: Of the export.
        threads: Of onnxruntime; None leaves the number to it.

    Attributes:
        file_bytes: Size of the models that it runs.
    """

    def __init__(self, folder: str, threads: int | None = None) -> None:
        super().__init__()
        self.runtime = Detector(folder, threads)
        self.file_bytes = sum(file.stat().st_size for file in self.runtime.files)

    def forward(self, inputs: dict[str, Any], data_samples: list, mode: str = 'predict') -> list:
        """The samples with ``pred_instances_3d``."""
        if mode != 'predict':
            raise ValueError(f'an export predicts; it has no mode {mode!r}')
        for points, sample in zip(inputs['points'], data_samples, strict=True):
            boxes, scores, labels = self.runtime(points.cpu().numpy())
            found = InstanceData()
            found.bboxes_3d = sample.box_type_3d(torch.from_numpy(boxes), box_dim=boxes.shape[1])
            found.scores_3d = torch.from_numpy(scores)
            found.labels_3d = torch.from_numpy(labels)
            sample.pred_instances_3d = found
            sample.pred_instances = InstanceData()
        return data_samples


def with_export(cfg: Config, folder: str | Path, threads: int | None = None) -> Config:
    """A config whose model is an export, for MMEngine's runner.

    Raises:
        FileNotFoundError: The folder holds no finished export.
        ValueError: Its classes are not those of the config's test data.
    """
    meta = Detector(folder, threads).meta
    dataset = cfg.test_dataloader.dataset
    classes = list((dataset.get('metainfo') or {}).get('classes') or meta['classes'])
    if classes != meta['classes']:
        raise ValueError(
            f'{folder} was exported for the classes {", ".join(meta["classes"])}; the test data '
            f'of the config have {", ".join(classes)}'
        )
    cfg = cfg.copy()
    cfg.model = dict(type='ExportedDetector', folder=str(folder), threads=threads)
    cfg.load_from, cfg.resume = None, False
    return cfg
