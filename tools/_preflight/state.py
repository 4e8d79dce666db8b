"""What the checks of one run hand on to each other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.registry import FUNCTIONS

from mmdistill import Distiller
from tools._preflight.findings import Skip

SPLITS = {'train': 'train_dataloader', 'val': 'val_dataloader'}


class Stopwatch:
    """Seconds that have gone by, with all work of the device done."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        synchronize()
        start = time.perf_counter()
        yield
        synchronize()
        self.seconds = time.perf_counter() - start


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

    def teachers(self) -> dict[str, Any]:
        """The model's teachers by name; none for a plain detector."""
        model = self.model
        return model.teachers if isinstance(model, Distiller) else {}

    def collate(self, samples: Sequence[Any]) -> Any:
        """A batch of samples, as the training loader would make it."""
        cfg = dict(self.loader('train').get('collate_fn') or {'type': 'pseudo_collate'})
        collate = cfg.pop('type')
        collate = FUNCTIONS.get(collate) if isinstance(collate, str) else collate
        return collate(samples, **cfg)

    def loader(self, split: str) -> dict[str, Any]:
        """Config of a split's data loader; empty where the config has none."""
        return self.cfg.get(SPLITS[split]) or {}


def synchronize() -> None:
    """Wait for the device, so that a clock shows what was computed and not what was ordered."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


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
