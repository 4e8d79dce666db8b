"""What a contrastive link gains by its projectors alone."""

import copy

import pytest
import torch
from mmengine.registry import MODELS

from mmdistill.analysis.contrast import Similarities, train_projectors
from tests.mmdistill.conftest import *  # noqa: F403  (fixtures of a tiny pair)


def test_projectors_learn_and_the_student_stands_still(distiller_config, crd_link, batch):
    torch.manual_seed(0)
    link = {**crd_link, 'weight': 1.0}
    distiller = MODELS.build(distiller_config(links=dict(crd=link)))
    distiller.init_weights()
    distiller.train()
    before = copy.deepcopy(distiller.student.state_dict())
    found = train_projectors(distiller, [copy.deepcopy(batch) for _ in range(60)], 1e-2)['crd']
    assert all(torch.equal(v, before[k]) for k, v in distiller.student.state_dict().items())
    assert found['last_loss'] < found['first_loss'] - 0.1
    assert found['last_positive'] > found['first_positive']
    assert found['share'] > 0
    with pytest.raises(ValueError, match='there is no batch'):
        train_projectors(distiller, [], 1e-2)


def test_a_distiller_without_memories_is_refused(distiller_config, batch):
    distiller = MODELS.build(distiller_config())
    with pytest.raises(ValueError, match=r"no link contrasts with a memory; .*\['attention'\]"):
        train_projectors(distiller, [batch], 1e-2)


def test_similarities_leave_out_what_is_no_sample():
    memory = MODELS.build(dict(type='QueueMemory', num_classes=2, embed_dims=3))
    seen = Similarities(memory)
    student, teacher = torch.eye(3), torch.eye(3)
    memory(student, teacher, labels=torch.tensor([0, 1, -1]))
    assert (seen.positive, seen.negative) == (1, 0)
    memory(student, teacher[[1, 0, 2]], labels=torch.tensor([0, 1, -1]))
    assert (seen.positive, seen.negative) == (0, 1)
    seen.remove()
    memory(student, teacher, labels=torch.tensor([0, 1, 0]))
    assert (seen.positive, seen.negative) == (0, 1)
