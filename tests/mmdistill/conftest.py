"""Fixtures of the distiller's tests; the models are in ``tiny.py``."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.structures import BaseDataElement

import mmdistill  # noqa: F401  (registers)
from tests.mmdistill.tiny import TinyClassifier


@pytest.fixture
def batch():
    """Six images with labels and data set indices."""
    torch.manual_seed(0)
    samples = [
        BaseDataElement(metainfo=dict(label=i % 4, sample_idx=idx))
        for i, idx in enumerate([3, 9, 0, 9, 5, 7])
    ]
    return dict(inputs=torch.randn(6, 3, 10, 12), data_samples=samples)


@pytest.fixture
def teacher_file(tmp_path):
    """Saved weights of the wide classifier."""
    torch.manual_seed(1)
    path = tmp_path / 'teacher.pth'
    torch.save(dict(state_dict=TinyClassifier(16).state_dict()), path)
    return path


@pytest.fixture
def distiller_config(teacher_file):
    """A distiller config with one link; tests change their copy."""

    def make(**changes):
        config = dict(
            type='Distiller',
            student=dict(type='TinyClassifier', width=8),
            teacher=dict(
                config=dict(type='TinyClassifier', width=16), checkpoint=str(teacher_file)
            ),
            links=dict(
                attention=dict(
                    student='backbone[1]',
                    teacher='backbone[1]',
                    loss=dict(type='AttentionTransferLoss'),
                )
            ),
        )
        return {**copy.deepcopy(config), **copy.deepcopy(changes)}

    return make


@pytest.fixture
def crd_link():
    """A CRD link for the pair above, with banks for 12 samples."""
    return dict(
        student='backbone[1]',
        teacher='backbone[1]',
        loss=dict(
            type='CRDLoss',
            student_channels=8,
            teacher_channels=16,
            embed_dims=6,
            memory=dict(num_negatives=5, num_samples=12),
        ),
    )
