"""Settings for every test: one quiet thread, no leftovers, and no GPU tests without a GPU."""

import os
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('MPLBACKEND', 'Agg')

import pytest
import torch
from mmengine.registry import DefaultScope


@pytest.fixture(scope='session')
def repository():
    """Folder of the repository: configs and commands are named from here."""
    return Path(__file__).resolve().parents[1]


@contextmanager
def kept_scopes():
    """Leave no scope of a runner behind; fixtures of the whole session need it by themselves."""
    before = dict(DefaultScope._instance_dict)
    try:
        yield
    finally:
        DefaultScope._instance_dict.clear()
        DefaultScope._instance_dict.update(before)


@pytest.fixture(autouse=True)
def no_scope_is_left():
    """A runner leaves its default scope behind, in which the next test would look up its models."""
    with kept_scopes():
        yield


@pytest.fixture(autouse=True, scope='module')
def no_scope_is_left_by_a_module():
    """The same for what fixtures of a whole module run."""
    with kept_scopes():
        yield


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker('gpu'):
            item.add_marker(pytest.mark.skip(reason='no CUDA device'))
