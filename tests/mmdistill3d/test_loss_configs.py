"""Every loss's config trains, and every combination: all are reachable from a config alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner

import mmdistill3d  # noqa: F401  (registers)
from lidarsim import Parameters, generate_dataset

ROOT = Path(__file__).parents[2]
FOLDERS = ('losses', 'combinations')
CONFIGS = [
    path for folder in FOLDERS for path in sorted((ROOT / 'configs/distill' / folder).glob('*.py'))
]
# Files of one family of losses train the first; the others wait with a weight of 0.
RUNS = [
    (path, name)
    for path in CONFIGS
    for name, link in Config.fromfile(path, import_custom_modules=False).model.links.items()
    if link is not None and link.get('weight') == 0
] + [(path, None) for path in CONFIGS]
TEACHER = ROOT / 'configs/bevfusion/bevfusion_lidar_teacher_mini.pth'


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    """Four training frames of the embedded data set."""
    path = tmp_path_factory.mktemp('data') / 'lidarsim'
    generate_dataset(
        path, Parameters(scenes=2, val_scenes=1, frames=2, sweeps=2, azimuths=270, seed=0)
    )
    return f'{path}/'


@pytest.mark.parametrize(('path', 'link'), RUNS, ids=lambda value: getattr(value, 'stem', value))
def test_two_iterations_train(path, link, data_root, tmp_path):
    config = Config.fromfile(path)
    if link is not None:
        for name, other in config.model.links.items():
            other.weight = float(name == link)
    config.merge_from_dict(
        {
            'model.teacher.checkpoint': str(TEACHER),
            'train_dataloader.dataset.data_root': data_root,
            'work_dir': str(tmp_path),
            'log_level': 'WARNING',
            'default_hooks.logger.interval': 1,
            'default_hooks.checkpoint.interval': -1,
        }
    )
    config.default_hooks.pop('visualization')
    config.custom_hooks = [h for h in config.custom_hooks if h['type'] != 'StudentCheckpointHook']
    # as the rest of the file, but two iterations and nothing to evaluate
    config.train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=10)
    for split in ('val', 'test'):
        for part in ('cfg', 'dataloader', 'evaluator'):
            config.pop(f'{split}_{part}')
    config.experiment_name = f'{path.stem}_{link}'
    runner = Runner.from_cfg(config)
    runner.train()

    assert runner.iter == 2
    scalars = runner.message_hub.log_scalars
    names = list(runner.model.links)
    starts = any(type(hook).__name__ == 'Det3DInitHook' for hook in runner.hooks)
    assert names or starts or runner.model.targets is not None
    values = [value for name in names for value in scalars[f'train/distill/{name}'].data[0]]
    assert len(values) == 2 * len(names)
    assert all(math.isfinite(value) for value in values), values
    assert any(value != 0 for value in values) or not names, names
    assert all(parameter.isfinite().all() for parameter in runner.model.parameters())


def test_every_loss_has_a_config():
    """Those of heads that BEVFusion does not have are trained by ``test_head_configs.py``."""
    folders = (ROOT / 'configs/distill', ROOT / 'configs/_base_/distill')
    used = '\n'.join(path.read_text() for folder in folders for path in folder.rglob('*.py'))
    package = ('mmdistill.losses', 'mmdistill3d.losses')
    losses = [
        name for name, cls in MODELS.module_dict.items() if cls.__module__.startswith(package)
    ]
    assert len(losses) > 3
    assert sorted(name for name in losses if f"'{name}'" not in used) == []


def test_every_config_says_when_to_use_it():
    for path in CONFIGS:
        assert path.read_text().startswith('# '), f'{path.name} has no comment at its top'


def test_hooks_of_the_configs_are_registered():
    for path in CONFIGS:
        for hook in Config.fromfile(path).custom_hooks:
            assert HOOKS.get(hook['type']) is not None, f'{path.name}: {hook["type"]}'
