"""From a config and a checkpoint to the plain detector that is deployed."""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn


@dataclass(frozen=True)
class Detector:
    """A detector in eval mode, and where it came from.

    Args:
        model: The plain detector.
        cfg: The config it was described by.
        config: Path of the config.
        checkpoint: Path of the checkpoint.
        sha256: Of the checkpoint's bytes.
    """

    model: nn.Module
    cfg: Config
    config: str
    checkpoint: str
    sha256: str

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the labels.

        Raises:
            ValueError: Neither data set of the config says them.
        """
        for loader in ('test_dataloader', 'val_dataloader', 'train_dataloader'):
            dataset = (self.cfg.get(loader) or {}).get('dataset') or {}
            while 'metainfo' not in dataset and 'dataset' in dataset:
                dataset = dataset['dataset']
            names = (dataset.get('metainfo') or {}).get('classes')
            if names:
                return list(names)
        raise ValueError(f'no data set of {self.config} has metainfo with the classes')


def load_detector(
    config: str | Path, checkpoint: str | Path, cfg_options: dict[str, Any] | None = None
) -> Detector:
    """Build the detector of a config and load its weights, strictly.

    Where the config's model holds the detector as its ``student``, that one is built, and the
    weights may be those of the whole model or its alone.

    Args:
        config: Path of a config with ``model``.
        checkpoint: Path of a training checkpoint or of a file of weights.
        cfg_options: Config entries to override.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: The checkpoint cannot be read, or does not fit; the message lists the keys.
    """
    from mmdet3d.registry import MODELS

    for path in (config, checkpoint):
        if not Path(path).is_file():
            raise FileNotFoundError(f'{path} does not exist (seen from {Path.cwd()})')
    cfg = Config.fromfile(str(config))
    cfg.merge_from_dict(cfg_options or {})
    init_default_scope(cfg.get('default_scope', 'mmdet3d'))
    model = MODELS.build(plain_model(cfg.model))
    load_weights(model, checkpoint)
    digest = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
    return Detector(model.eval(), cfg, str(config), str(checkpoint), digest)


def plain_model(model: dict[str, Any]) -> dict[str, Any]:
    """Config of the detector itself, where a model holds it as its ``student``.

    A student that names a config file, or ``'package::path'``, is that file's model with the
    changes that stand beside the name.
    """
    while 'student' in model:
        model = model['student']
        if 'type' not in model and 'config' in model:
            changes = {k: v for k, v in model.items() if k not in ('config', 'checkpoint')}
            cfg = Config(dict(model=copy.deepcopy(dict(_named_model(model['config'])))))
            cfg.merge_from_dict(dict(model=changes))
            model = cfg.model
    return model


def _named_model(config: str | dict[str, Any]) -> dict[str, Any]:
    """The model of a config: a path, ``'package::path'``, or its content."""
    if isinstance(config, str):
        config = get_config(config) if '::' in config else Config.fromfile(config)
    return config.get('model', config)


def load_weights(model: nn.Module, checkpoint: str | Path) -> None:
    """Load a checkpoint strictly; weights under ``student.`` are taken where they are the model's.

    Raises:
        ValueError: The file cannot be read or does not fit.
    """
    try:
        content = CheckpointLoader.load_checkpoint(str(checkpoint), map_location='cpu')
    except UnpicklingError as error:
        raise ValueError(
            f'{checkpoint} holds more than weights, which the safe loader refuses ({error}); name '
            'a file of weights alone'
        ) from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(f'{checkpoint} cannot be read as a checkpoint ({error})') from error
    weights = content.get('state_dict', content)
    wanted = set(model.state_dict())
    student = _below('student.', weights)
    if wanted & set(student):  # a distillation run's checkpoint has other weights, too
        weights = student
    missing, unexpected = sorted(wanted - set(weights)), sorted(set(weights) - wanted)
    if missing or unexpected:
        raise ValueError(
            f'{checkpoint} does not fit the detector: {_some("missing", missing)}, '
            f'{_some("unexpected", unexpected)}. Name the config that it was trained with'
        )
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f'{checkpoint} does not fit the detector: {error}') from error


def _below(prefix: str, weights: dict[str, Any]) -> OrderedDict:
    """The entries under a prefix, without it; version tags of the layers are kept."""
    cut = len(prefix)
    chosen = OrderedDict((k[cut:], v) for k, v in weights.items() if k.startswith(prefix))
    tags = getattr(weights, '_metadata', {})
    chosen._metadata = OrderedDict(
        (k[cut:], v) for k, v in tags.items() if f'{k}.'.startswith(prefix)
    )
    return chosen


def _some(what: str, keys: list[str]) -> str:
    more = f', ... ({len(keys)} in all)' if len(keys) > 5 else ''
    return f'{what} keys: {", ".join(keys[:5]) or "none"}{more}'
