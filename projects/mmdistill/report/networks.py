"""The models of runs, built and loaded, with the frames that they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import set_random_seed
from torch import nn

from mmdistill.analysis.frames import load_model
from mmdistill.distiller import Distiller
from mmdistill.hooks import TeacherInitHook
from mmdistill.report.runs import ROLES, Run, plain_config

MISSING = (FileNotFoundError, ValueError, KeyError, ImportError)
"""What is raised where a file, a package or a fitting config is not there."""


@dataclass
class Network:
    """A model of the page.

    Args:
        name, role: Of its run.
        model: Predicts; of a distillation run the student alone.
        cfg: The config whose data it reads.
        run: Its run; None for a teacher that no run of the page trained.
    """

    name: str
    role: str
    model: nn.Module
    cfg: Config
    run: Run | None = None


def load_networks(runs: Sequence[Run], notes: list[str], device: str | None) -> list[Network]:
    """Load a model of each role, and the teacher of a distiller where no run is it.

    Of several runs of a role the first one stands for all.

    Args:
        runs: Of the page.
        notes: Gets a line for each model that cannot be loaded.
        device: This machine's, where none is named.
    """
    networks: list[Network] = []
    for run in runs:
        if network_of(networks, run.role) is not None:
            continue
        if run.cfg is None or run.checkpoint is None:
            notes.append(f'{run.name}: no model to look at without its config and weights')
            continue
        try:
            cfg = plain_config(run)
            model = load_model(cfg, run.checkpoint, device)
        except MISSING as error:
            notes.append(f'{run.name}: its model does not load: {error}')
            continue
        networks.append(Network(run.name, run.role, model, cfg, run))
    if not any(run.role == 'teacher' for run in runs):
        for run in [run for run in runs if run.is_distiller][-1:]:
            try:
                teacher = _teacher(load_distiller(run.cfg, device))
            except MISSING as error:
                notes.append(f'the teacher of {run.name} does not load: {error}')
                continue
            networks.insert(0, Network(ROLES['teacher'], 'teacher', teacher, run.cfg))
    return networks


def load_distiller(cfg: Config, device: str | None) -> Distiller:
    """Build a distiller with its teachers loaded and its student as the run's seed starts it.

    Raises:
        FileNotFoundError: A teacher's config or weights are not there.
        ValueError: The config does not build, or weights do not fit.
    """
    set_random_seed(int(cfg.get('randomness', {}).get('seed') or 0))
    distiller = MODELS.build(cfg.model)
    distiller.init_weights()
    for config in cfg.get('custom_hooks') or ():
        if 'InitHook' in str(config['type']):
            hook = HOOKS.build(config)
            if isinstance(hook, TeacherInitHook):
                hook.start(distiller)
    distiller = distiller.to(device or get_device()).eval()
    for teacher in distiller.teachers.values():
        teacher.model.to(device or get_device())
    return distiller


def network_of(networks: Sequence[Network], role: str) -> Network | None:
    """Return the first network of a role."""
    return next((network for network in networks if network.role == role), None)


def _teacher(distiller: Distiller) -> Any:
    return next(iter(distiller.teachers.values())).model
