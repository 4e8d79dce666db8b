"""A toy project: a package, a config, and the tools run on it as a user runs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lidarsim import Parameters, generate_dataset

ROOT = Path(__file__).resolve().parents[2]

PACKAGE = """
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch.utils.data import Dataset


@MODELS.register_module()
class ToyModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x, mode='tensor'):
        y = self.layer(x)
        return {'loss': (y**2).mean()} if mode == 'loss' else [y]


@DATASETS.register_module()
class ToyData(Dataset):
    def __init__(self, ann_file=None, data_root=None):
        self.metainfo = {}

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {'x': torch.full((2,), float(index))}


@METRICS.register_module()
class ToyMetric(BaseMetric):
    default_prefix = 'Toy'

    def process(self, data_batch, data_samples):
        self.results.append(float(data_samples[0].mean()))

    def compute_metrics(self, results):
        return {'mAP': 0.5, 'NDS': sum(results) / len(results)}
"""

CONFIG = """
custom_imports = dict(imports=['toy_package'], allow_failed_imports=False)
data_root = 'data/toy'
dataset = dict(type='ToyData', data_root=data_root)
loader = dict(dataset=dataset, batch_size=2, num_workers=0,
              collate_fn=dict(type='default_collate'),
              sampler=dict(type='DefaultSampler', shuffle=False))
model = dict(type='ToyModel')
train_dataloader = loader
val_dataloader = loader
test_dataloader = loader
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='ToyMetric')
test_evaluator = val_evaluator
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
param_scheduler = [dict(type='OneCycleLR', eta_max=0.01, total_steps=40, by_epoch=False)]
custom_hooks = [dict(type='EMAHook')]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval=1, save_best='Toy/NDS', rule='greater'))
randomness = dict(seed=0)
"""


class ToyProject:
    """A folder with ``toy_package.py`` and ``toy.py``, a config for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / 'toy_package.py').write_text(PACKAGE)
        self.config = folder / 'toy.py'
        self.config.write_text(CONFIG)

    def run(self, *command, **env):
        """Run a command in the folder; its output has stdout and stderr together."""
        return subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env={**os.environ, 'PYTHONPATH': str(self.folder), 'PYTHON': sys.executable, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    def tool(self, name, *arguments, **env):
        """Run one of the repository's Python tools."""
        return self.run(sys.executable, ROOT / 'tools' / name, *arguments, **env)


@pytest.fixture
def toy_project(tmp_path):
    return ToyProject(tmp_path)


@pytest.fixture(scope='session')
def run_tool():
    """``run_tool(name, *arguments)`` runs one of the repository's tools from its root."""

    def run(name, *arguments):
        return subprocess.run(
            [sys.executable, f'tools/{name}', *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )

    return run


@pytest.fixture(scope='session')
def tiny_lidarsim(tmp_path_factory):
    """A generated data set of a handful of frames."""
    root = tmp_path_factory.mktemp('data') / 'lidarsim'
    generate_dataset(root, Parameters(scenes=2, val_scenes=1, frames=2))
    return root
