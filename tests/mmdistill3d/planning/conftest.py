"""Pairs of detectors, and teachers' files with random weights."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS

from mmdistill.teacher import read_model_config
from mmdistill3d.planning.pair import sparse_layers_for_cpu


@pytest.fixture(autouse=True)
def at_the_root(repository, monkeypatch):
    """Configs are named from here."""
    monkeypatch.chdir(repository)


@pytest.fixture
def random_weights(tmp_path):
    """A function that saves random weights of a config's model, and returns the file's path."""

    def save(config: str) -> str:
        path = tmp_path / 'teacher.pth'
        model = build(read_model_config(config, 'teacher'))
        model.init_weights()  # else every anchor is an object
        torch.save({'state_dict': model.state_dict()}, path)
        return str(path)

    return save


def build(model: dict):
    """Build a detector whose sparse layers run on the CPU."""
    with sparse_layers_for_cpu():
        return MODELS.build(model)
