"""Heads on single images teach by cell, in training and in evaluation alike."""

import copy
import math

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmdistill3d.analysis.families import FAMILIES
from mmdistill3d.losses import MonoHeadKDLoss, SMOKEHeadKDLoss

NAMED = {family.name: family for family in FAMILIES}


def detector(name):
    """The head of a family alone, and maps for it."""
    torch.manual_seed(0)
    config = NAMED[name].model().bbox_head
    config.update(train_cfg=None, test_cfg=None)
    model = nn.Module()
    model.bbox_head = MODELS.build(config)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):  # as initialised, all answers are alike
            nn.init.normal_(module.weight, std=0.05)
    levels = model.bbox_head.strides or [4]
    maps = [torch.randn(2, config.in_channels, 16 // 2**i, 24 // 2**i) for i in range(len(levels))]
    return model, maps[:3] + [maps[2]] * (len(levels) - 3) if len(levels) > 3 else maps


def answers(model, maps):
    with torch.no_grad():
        return model.bbox_head(tuple(maps))


@pytest.mark.parametrize('name', ['FCOS3D', 'PGD', 'SMOKE'])
class TestHeads:
    """What holds for each of these heads."""

    def loss(self, name, **options):
        return SMOKEHeadKDLoss(**options) if name == 'SMOKE' else MonoHeadKDLoss(**options)

    def test_a_head_in_training_and_its_copy_in_evaluation_agree(self, name):
        """In evaluation FCOS3D and PGD give offsets in pixels, in training in cells."""
        model, maps = detector(name)
        teacher = copy.deepcopy(model).eval()
        models = dict(student_model=model.train(), teacher_model=teacher)
        mine, theirs = answers(model, maps), answers(teacher, maps)
        if name != 'SMOKE':
            assert not torch.allclose(mine[1][0][:, :2], theirs[1][0][:, :2])
        loss = self.loss(name, score_thr=0.0)
        assert loss(mine, theirs, **models) == pytest.approx(0, abs=1e-6)
        moved = copy.deepcopy(mine)
        moved[1][0][:, 0] += 0.5
        assert loss(moved, theirs, **models) > 1e-3

    def test_gradients_reach_all_that_is_compared(self, name):
        model, maps = detector(name)
        teacher, other = detector(name)
        loss = self.loss(name, score_thr=0.0)
        out = model.train().bbox_head(tuple(maps))
        theirs = answers(teacher.eval(), [level + 0.1 for level in other])
        loss(out, theirs, student_model=model, teacher_model=teacher).backward()
        for part in ('conv_cls', 'conv_reg'):
            layers = [p for n, p in model.bbox_head.named_parameters() if n.startswith(part)]
            if layers:
                assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in layers), part

    def test_other_codes_are_refused(self, name):
        model, maps = detector(name)
        teacher = copy.deepcopy(model)
        if name == 'SMOKE':
            teacher.bbox_head.bbox_coder.base_depth = (20.0, 16.0)
        else:
            teacher.bbox_head.strides = [2 * stride for stride in teacher.bbox_head.strides]
        with pytest.raises(ValueError, match=r'(base_depth|strides).*student.*teacher.*equal'):
            self.loss(name)(
                answers(model, maps), answers(model, maps), student_model=model,
                teacher_model=teacher,
            )  # fmt: skip


def test_the_value_is_that_of_the_formula_cell_by_cell():
    model, maps = detector('FCOS3D')
    teacher, other = detector('FCOS3D')
    mine, theirs = answers(model.train(), maps), answers(teacher.train(), [m + 0.2 for m in other])
    options = dict(direction_weight=0.0, centerness_weight=0.0, beta=0.0, form='mse', max_cells=9)
    loss = MonoHeadKDLoss(score_thr=0.0, **options)
    value = loss(mine, theirs, student_model=model, teacher_model=teacher)

    numerator = boxes = weights = 0.0
    for sample in range(2):
        cells = []
        for level in range(len(mine[0])):
            height, width = mine[0][level].shape[2:]
            for y in range(height):
                for x in range(width):
                    at = (sample, slice(None), y, x)
                    scores = [out[0][level][at].sigmoid() for out in (mine, theirs)]
                    numerator += float((scores[0] - scores[1]).square().sum())
                    sure = float(scores[1].max() * theirs[4][level][at].sigmoid())
                    codes = [out[1][level][at].double() for out in (mine, theirs)]
                    cells.append((sure, codes))
        for sure, (one, two) in sorted(cells, key=lambda cell: -cell[0])[:9]:
            distance = float((one[:2] - two[:2]).abs().sum())
            logs = [torch.cat([c[2:3], c[3:6]]).clamp(min=1e-3).log() for c in (one, two)]
            distance += float((logs[0] - logs[1]).abs().sum())
            for turn in (math.sin, math.cos):  # up to half turns, as a classifier knows the rest
                distance += abs(turn(2 * float(one[6])) - turn(2 * float(two[6])))
            distance += 0.2 * float((one[7:9] - two[7:9]).abs().sum())
            boxes, weights = boxes + sure * distance, weights + sure
    expected = numerator / max(weights, 1) + boxes / weights
    assert value == pytest.approx(expected, rel=1e-4)
