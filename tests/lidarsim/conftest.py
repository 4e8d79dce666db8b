"""A small data set that all tests of the package read and none changes."""

import json
from pathlib import Path

import pytest

from lidarsim import Parameters, generate_dataset

PARAMETERS = Parameters(scenes=2, val_scenes=5, frames=5, sweeps=2, azimuths=540, seed=0)


@pytest.fixture(scope='session')
def parameters() -> Parameters:
    return PARAMETERS


@pytest.fixture(scope='session')
def root(tmp_path_factory) -> Path:
    """Folder of the data set."""
    path = tmp_path_factory.mktemp('data') / 'lidarsim'
    generate_dataset(path, PARAMETERS)
    return path


@pytest.fixture(scope='session')
def tables(root) -> dict[str, list[dict]]:
    """All rows, by table name."""
    files = (root / 'v1.0-trainval').glob('*.json')
    return {file.stem: json.loads(file.read_text()) for file in files}


@pytest.fixture(scope='session')
def nusc(root):
    """The data set in the official devkit."""
    nuscenes = pytest.importorskip('nuscenes')
    return nuscenes.NuScenes('v1.0-trainval', str(root), verbose=False)
