"""Query-level CRD: which queries are contrasted, and a step of two detectors."""

import pytest
import torch
from mmengine.registry import MODELS

from tests.mmdistill3d.losses.test_transfusion_kd import CODER, outputs

TEACHER_WIDTH, STUDENT_WIDTH = 6, 4


def sampler(**config):
    matcher = dict(student_coder=CODER, teacher_coder=CODER)
    return MODELS.build(dict(type='QuerySampler', num_classes=3, matcher=matcher, **config))


def same_objects(order):
    """A teacher's outputs, and a student's that says the same in another order of queries."""
    teacher = {key: value.detach() for key, value in outputs(5, 0).items()}
    teacher['heatmap'] += 3
    per_sample = ('dense_heatmap',)
    student = {k: v if k in per_sample else v[..., order] for k, v in teacher.items()}
    draw = torch.Generator().manual_seed(1)
    teacher['query_feature'] = torch.randn(2, TEACHER_WIDTH, 5, generator=draw)
    student['query_feature'] = teacher['query_feature'][:, :STUDENT_WIDTH][..., order]
    return student, teacher


def test_queries_of_the_same_object_are_pairs_whatever_their_order():
    student, teacher = same_objects([3, 0, 4, 2, 1])
    found = sampler(min_confidence=0.0)(student, teacher)
    assert found.student.shape == (10, STUDENT_WIDTH) and found.valid.all()
    torch.testing.assert_close(found.student, found.teacher[:, :STUDENT_WIDTH])
    rows = teacher['query_feature'].transpose(1, 2).flatten(0, 1)
    assert {tuple(row) for row in found.teacher.tolist()} == {tuple(row) for row in rows.tolist()}
    expected = teacher['query_labels'].flatten()
    confident = torch.cdist(found.teacher, rows).argmin(1)
    assert torch.equal(found.keys['labels'], expected[confident])


def test_what_the_teacher_doubts_and_what_lies_far_apart_is_no_pair():
    student, teacher = same_objects([0, 1, 2, 3, 4])
    assert (sampler(min_confidence=0.999)(student, teacher).keys['labels'] == -1).all()
    teacher['center'] = teacher['center'] + 50
    assert (sampler(min_confidence=0.0)(student, teacher).keys['labels'] == -1).all()
    with pytest.raises(ValueError, match=r"bbox_head\[0\]\[0\]'\), with 'query_feature'; got"):
        sampler()({}, teacher)
    with pytest.raises(ValueError, match='min_confidence is a score'):
        sampler(min_confidence=1.5)


def test_agreement_costs_less_and_gradients_reach_the_student_alone():
    student, teacher = same_objects([3, 0, 4, 2, 1])
    loss = MODELS.build(
        dict(
            type='CRDLoss',
            student_channels=STUDENT_WIDTH,
            teacher_channels=TEACHER_WIDTH,
            teacher_projector=dict(type='CentredProjector'),
            granularity=dict(
                type='query',
                num_classes=3,
                min_confidence=0.0,
                matcher=dict(student_coder=CODER, teacher_coder=CODER),
            ),
            memory=dict(queue_length=16, num_negatives=32),
        )
    )
    assert loss.memory.embed_dims == TEACHER_WIDTH  # what its projector keeps
    feature = student['query_feature'].requires_grad_()
    teacher['query_feature'].requires_grad_()
    loss(student, teacher, student_model=None, teacher_model=None).backward()
    assert feature.grad.abs().sum() > 0 and teacher['query_feature'].grad is None
    assert not list(loss.teacher_projector.parameters())

    same = dict(student, query_feature=feature.detach()[..., [0, 1, 2, 3, 4]])
    swapped = dict(student, query_feature=feature.detach()[..., [1, 2, 3, 4, 0]])
    with torch.no_grad():  # a projector that shows the teacher's channels as they are
        loss.student_projector.layers[0].weight.copy_(torch.eye(TEACHER_WIDTH, STUDENT_WIDTH))
        loss.student_projector.layers[0].bias.copy_(-loss.teacher_projector.mean)
        loss.eval()
        assert loss(same, teacher) < loss(swapped, teacher)


def test_the_centre_follows_the_features():
    projector = MODELS.build(dict(type='CentredProjector', in_channels=3, out_channels=3))
    first, second = torch.randn(8, 3) + 5, torch.randn(8, 3) + 5
    first[0, 0] = torch.nan
    projector(first)
    torch.testing.assert_close(projector.mean, first[1:].mean(0))
    embedded = projector(second)
    mean = 0.99 * first[1:].mean(0) + 0.01 * second.mean(0)
    torch.testing.assert_close(projector.mean, mean)
    expected = (second - mean) / (second - mean).norm(dim=1, keepdim=True)
    torch.testing.assert_close(embedded, expected)
    torch.testing.assert_close(projector.eval()(second), expected)
    torch.testing.assert_close(projector.mean, mean)
    with pytest.raises(ValueError, match='keeps the 3 channels.*leave embed_dims out'):
        MODELS.build(dict(type='CentredProjector', in_channels=3, out_channels=4))
