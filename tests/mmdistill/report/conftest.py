"""A teacher, a student alone and a student distilled, trained for two epochs on tiny images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mmengine.runner import Runner

from tests.conftest import kept_scopes
from tests.mmdistill.tiny import runner_config


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    """Folder with the runs ``teacher``, ``alone`` and ``distilled``; not to be changed."""
    root = tmp_path_factory.mktemp('report')
    teacher = dict(type='TinyClassifier', width=16)
    student = dict(type='TinyClassifier', width=8)
    links = dict(
        block=dict(
            student='backbone[1]',
            teacher='backbone[1]',
            student_connector=dict(type='ConvConnector'),
            loss=dict(type='FitNetLoss', loss_weight=0.5),
        ),
    )
    distilled = dict(
        type='Distiller',
        student=student,
        teacher=dict(config=teacher, checkpoint=str(root / 'teacher' / 'epoch_2.pth')),
        links=links,
    )
    models = dict(teacher=teacher, alone=student, distilled=distilled)
    for name, model in models.items():
        hooks = [dict(type='RandomStateHook')]
        if name == 'distilled':
            hooks += [dict(type='DistillHook'), dict(type='StudentCheckpointHook')]
        settings = dict(
            custom_hooks=hooks,
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(type='CheckpointHook', interval=1),
            ),
            default_scope='mmengine',
            randomness=dict(seed=3),
            experiment_name=f'{root.name}_{name}',
        )
        with kept_scopes():
            Runner.from_cfg(runner_config(root / name, model, **settings)).train()
    return root


@pytest.fixture
def runs_folder(trained, tmp_path):
    """A copy of the three runs that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / 'runs'))
