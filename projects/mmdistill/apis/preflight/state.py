"""What the checks of one run hand on to each other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.registry import FUNCTIONS

from mmdistill.analysis.timing import Stopwatch
from mmdistill.apis.preflight.domain import Domain, domain_of
from mmdistill.apis.preflight.findings import Skip
from mmdistill.distiller import Distiller

PREDICTED_SAMPLES = 20
PREDICTION_S = 20.0
SPLITS = {'train': 'train_dataloader', 'val': 'val_dataloader'}


@dataclass
class State:
    """A run's config, and what has been built of it so far.

    Args:
        cfg: The run's config.
        datasets: Data sets by split; a split whose files are missing is absent.
        sample_s: Seconds that loading a sample takes, by split.
        model: The model on its device; None until it is built.
        has_weights: Names of the teachers whose weights are loaded.
        device: Where the model runs.
        optimizer: The run's optimizer; None until a step is made.
        first_step: Time of the last first step.
    """

    cfg: Config
    datasets: dict[str, Any] = field(default_factory=dict)
    sample_s: dict[str, float] = field(default_factory=dict)
    model: BaseModel | None = None
    has_weights: set[str] = field(default_factory=set)
    device: str = field(default_factory=get_device)
    optimizer: Any = None
    first_step: Stopwatch = field(default_factory=Stopwatch)

    def built_model(self) -> BaseModel:
        """The model.

        Raises:
            Skip: It could not be built.
        """
        if self.model is None:
            raise Skip('the model could not be built')
        return self.model

    @property
    def domain(self) -> Domain:
        """What is known of models of this kind."""
        return domain_of(self.student)

    @property
    def student(self) -> BaseModel | None:
        """The model that learns: a distiller's student, or the model itself."""
        return self.model.student if isinstance(self.model, Distiller) else self.model

    def teachers(self) -> dict[str, Any]:
        """The model's teachers by name; none for a plain detector."""
        model = self.model
        return model.teachers if isinstance(model, Distiller) else {}

    def collate(self, samples: Sequence[Any], split: str = 'train') -> Any:
        """A batch of samples, as the split's loader would make it."""
        cfg = dict(self.loader(split).get('collate_fn') or {'type': 'pseudo_collate'})
        collate = cfg.pop('type')
        collate = FUNCTIONS.get(collate) if isinstance(collate, str) else collate
        return collate(samples, **cfg)

    def predictions(self, model: Any) -> Iterator[tuple[Any, Any]]:
        """Yield batches of one validation sample with predictions, until enough or too long."""
        dataset = self.datasets['val']
        model = model.to(self.device).eval()
        start = time.perf_counter()
        for index in some_indices(len(dataset), PREDICTED_SAMPLES - 2):
            batch = self.collate([dataset[index]], split='val')
            with torch.no_grad():
                yield batch, model.test_step(batch)
            if time.perf_counter() - start > PREDICTION_S:
                break

    def loader(self, split: str) -> dict[str, Any]:
        """Config of a split's data loader; empty where the config has none."""
        return self.cfg.get(SPLITS[split]) or {}


def some_indices(length: int, count: int) -> list[int]:
    """The first, the last and ``count`` random indices, the same in every call, ascending."""
    drawn = np.random.RandomState(0).permutation(length)[:count].tolist()
    return sorted({0, length - 1, *drawn})


def find_value(cfg: Any, key: str) -> Any:
    """The value of a key of the config, or the first one below it; None if there is none."""
    if isinstance(cfg, Config):
        cfg = cfg._cfg_dict
    if isinstance(cfg, Mapping):
        if cfg.get(key) is not None:
            return cfg[key]
        cfg = list(cfg.values())
    if not isinstance(cfg, (list, tuple)):
        return None
    found = (find_value(item, key) for item in cfg if isinstance(item, (Mapping, list, tuple)))
    return next((value for value in found if value is not None), None)


def leaf_dataset(dataset: Mapping[str, Any]) -> Mapping[str, Any]:
    """Config of the first data set under its wrappers (CBGS, Repeat, Concat)."""
    while dataset.get('dataset') or dataset.get('datasets'):
        inner = dataset.get('dataset') or dataset['datasets']
        dataset = inner[0] if isinstance(inner, (list, tuple)) else inner
    return dataset
