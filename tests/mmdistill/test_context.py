"""What a link hands to its loss beside the features: masks, predictions, models; targets."""

import copy

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData
from torch.nn import functional as F

from mmdistill.contracts import LinkLoss, Mask, Targets
from mmdistill.losses.reduce import as_float, weighted_mean
from mmdistill.step import Step


@MODELS.register_module(force=True)
class ScoreLoss(LinkLoss):
    """Reads what the teacher predicts, and both models."""

    needs = ('teacher_predictions', 'student_model', 'teacher_model')

    def forward(self, student, teacher, *, teacher_predictions, student_model, teacher_model):
        scores = torch.stack([sample.scores for sample in teacher_predictions])
        self.seen = (scores, student_model, teacher_model)
        return (student.mean((2, 3)).sum(1) - scores.sum(1)).square().mean()


@MODELS.register_module(force=True)
class MaskedLoss(LinkLoss):
    """Mean square over channels, weighted by a mask."""

    needs = ('mask',)

    def forward(self, student, teacher, *, mask=None):
        self.mask = mask
        return weighted_mean(student.square().mean(1), mask)


@MODELS.register_module(force=True)
class LeftHalf(Mask):
    """Only the left half of a map counts, in samples with an even label."""

    needs = ('data_samples',)

    def forward(self, feature, *, data_samples):
        mask = torch.zeros(len(feature), 1, *feature.shape[2:])
        even = torch.tensor([sample.label % 2 == 0 for sample in data_samples])
        mask[even, :, :, : feature.shape[3] // 2] = 1
        return mask


@MODELS.register_module(force=True)
class TeacherLabel(Targets):
    """Replaces each label by the teacher's best class."""

    def forward(self, data_samples, teacher_predictions):
        new = copy.deepcopy(data_samples)
        for sample, predicted in zip(new, teacher_predictions, strict=True):
            sample.set_metainfo(dict(label=int(predicted.scores.argmax())))
        return new


def build(config):
    distiller = MODELS.build(config)
    distiller.init_weights()
    return distiller.eval()


def link(loss, **more):
    return dict(
        links=dict(one=dict(student='backbone[1]', teacher='backbone[1]', loss=loss)), **more
    )


def test_a_loss_gets_what_the_teacher_predicts_and_both_models(distiller_config, batch):
    distiller = build(distiller_config(**link(dict(type='ScoreLoss'))))
    teacher = distiller.teachers['teacher'].model
    for _ in range(2):  # from the second pass on, a teacher that nobody asks stops early
        assert distiller(**batch, mode='loss')['distill/one'].isfinite()
    scores, student_model, teacher_model = distiller.links['one'].loss.seen
    assert torch.equal(scores, teacher(**batch))
    assert student_model is distiller.student and teacher_model is teacher
    assert not hasattr(batch['data_samples'][0], 'scores')  # the batch stays as it was


def test_a_mask_reaches_the_loss_and_weighs_positions(distiller_config, batch):
    config = distiller_config(**link(dict(type='MaskedLoss')))
    config['links']['one']['mask'] = dict(type='LeftHalf')
    distiller = build(config)
    value = distiller(**batch, mode='loss')['distill/one']
    feature = distiller.student.backbone(batch['inputs'])[1]
    even = torch.tensor([sample.label % 2 == 0 for sample in batch['data_samples']])
    expected = feature[even][:, :, :, : feature.shape[3] // 2].square().mean()
    torch.testing.assert_close(value, expected)


def test_without_a_mask_the_loss_gets_none(distiller_config, batch):
    distiller = build(distiller_config(**link(dict(type='MaskedLoss'))))
    distiller(**batch, mode='loss')
    assert distiller.links['one'].loss.mask is None


def test_a_mask_for_a_loss_that_takes_none_is_an_error(distiller_config):
    config = distiller_config(**link(dict(type='ScoreLoss')))
    config['links']['one']['mask'] = dict(type='LeftHalf')
    with pytest.raises(ValueError, match="link 'one': the link has a mask, and its loss ScoreLoss"):
        build(config)


def test_targets_change_what_the_student_learns_and_not_the_batch(distiller_config, batch):
    config = distiller_config(targets=dict(type='TeacherLabel'))
    distiller = build(config)
    before = [sample.label for sample in batch['data_samples']]
    losses = distiller(**batch, mode='loss')
    logits = distiller.student(**batch)
    labels = distiller.teachers['teacher'].model(**batch).argmax(1)
    torch.testing.assert_close(losses['loss_cls'], F.cross_entropy(logits, labels))
    assert [sample.label for sample in batch['data_samples']] == before
    assert labels.tolist() != before


def test_targets_work_without_links(distiller_config, batch):
    distiller = build(distiller_config(links={}, targets=dict(type='TeacherLabel')))
    assert list(distiller(**batch, mode='loss')) == ['loss_cls']


def test_links_see_samples_as_they_were_before_the_student_ran():
    """Anchor heads of MMDetection3D put bare tensors where the boxes were."""
    sample = BaseDataElement(instances=InstanceData(boxes=['a box']), metainfo=dict(sample_idx=3))
    step = Step(None, {}, {}, [sample])
    sample.instances.boxes = ['a tensor']
    sample.label = 1
    (seen,) = step.data_samples
    assert seen.instances.boxes == ['a box'] and 'label' not in vars(seen)
    assert step.sample_idx.tolist() == [3]


def test_targets_need_samples(distiller_config, batch):
    distiller = build(distiller_config(links={}, targets=dict(type='TeacherLabel')))
    with pytest.raises(ValueError, match='TeacherLabel'):
        distiller(inputs=batch['inputs'], data_samples=[], mode='loss')


class TestWeightedMean:
    values = torch.arange(24.0, dtype=torch.float64).reshape(2, 3, 4).requires_grad_()

    def test_is_the_mean_without_a_mask(self):
        assert weighted_mean(self.values) == self.values.mean()
        assert weighted_mean(self.values[:, None]) == self.values.mean()

    def test_is_the_weighted_mean_in_loops(self):
        torch.manual_seed(0)
        mask = torch.rand(2, 1, 3, 4)
        total = weight = 0.0
        for b in range(2):
            for h in range(3):
                for w in range(4):
                    total = total + mask[b, 0, h, w].double() * self.values[b, h, w]
                    weight = weight + mask[b, 0, h, w].double()
        torch.testing.assert_close(weighted_mean(self.values, mask), total / weight)

    def test_is_zero_with_a_gradient_where_nothing_counts(self):
        result = weighted_mean(self.values, torch.zeros(2, 1, 3, 4))
        (grad,) = torch.autograd.grad(result, self.values)
        assert result == 0 and (grad == 0).all()

    def test_names_the_shapes_that_differ(self):
        with pytest.raises(ValueError, match=r'mask is \(2, 1, 3, 5\).*\(2, 3, 4\)'):
            weighted_mean(self.values, torch.zeros(2, 1, 3, 5))


def test_halves_become_floats_and_doubles_stay():
    for dtype, expected in (
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        assert as_float(torch.zeros(1, dtype=dtype)).dtype == expected
