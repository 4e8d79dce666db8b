"""Two small image classifiers, the smallest pair a distiller can join."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import nn
from torch.nn import functional as F


@MODELS.register_module(force=True)
class TinyClassifier(BaseModel):
    """Convolutions, global pooling and a linear classifier; returns a tuple from its backbone."""

    def __init__(self, width: int = 8, inplace: bool = False, preprocessor: dict | None = None):
        super().__init__(data_preprocessor=preprocessor)
        self.backbone = TinyBackbone(width, inplace)
        self.head = nn.Linear(width, 4)
        self.tail = nn.ModuleList([nn.Identity(), nn.Identity()])
        self.head_calls = 0

    def forward(self, inputs, data_samples=None, mode='tensor'):
        feature = self.backbone(image=inputs)[1]
        self.head_calls += 1
        logits = self.tail[1](self.head(feature.mean((2, 3))))
        if mode == 'loss':
            labels = torch.tensor([sample.label for sample in data_samples])
            return dict(loss_cls=F.cross_entropy(logits, labels))
        return logits


class TinyBackbone(nn.Module):
    def __init__(self, width: int, inplace: bool):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.act = nn.ReLU(inplace=inplace)
        self.block = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, image):
        low = self.act(self.stem(image))
        return low, self.block(self.block(low))


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
    """Trained weights (random ones, saved) of the wide classifier."""
    torch.manual_seed(1)
    path = tmp_path / 'teacher.pth'
    torch.save(dict(state_dict=TinyClassifier(16).state_dict()), path)
    return path


@pytest.fixture
def distiller_config(teacher_file):
    """A distiller config with one link; tests copy and change it."""

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
        return {**copy.deepcopy(config), **changes}

    return make


@pytest.fixture
def crd_link():
    """A CRD link for the pair above."""
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
