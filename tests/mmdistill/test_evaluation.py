"""Metrics of classifiers against slow formulas and by hand."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from mmdistill.evaluation import ClassificationMetric, MultiTaskMetric
from mmdistill.evaluation.scores import macro_f1


def sample(**values):
    meta = {key: value for key, value in values.items() if key.endswith('label')}
    element = BaseDataElement(metainfo=meta)
    element.set_data({k: torch.tensor(v) for k, v in values.items() if k.endswith('scores')})
    return element


def evaluate(metric, samples, classes=None):
    """Through MMEngine's evaluator, in two batches."""
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = None if classes is None else dict(classes=classes)
    for batch in (samples[:3], samples[3:]):
        evaluator.process(batch, data_batch=None)
    return evaluator.evaluate(len(samples))


@pytest.fixture
def samples():
    """Predicted a, b, a, c, c for the labels a, b, b, c, a; the wrong ones have it second."""
    scores = [[3, 1, 0], [0, 2, 1], [2, 1, 0], [0, 1, 2], [1, 0, 2]]
    labels = [0, 1, 1, 2, 0]
    return [
        sample(scores=[float(v) for v in s], label=y) for s, y in zip(scores, labels, strict=True)
    ]


def test_accuracy_f1_and_confusion_are_what_counting_gives(samples):
    metrics = evaluate(ClassificationMetric(topk=(1, 2), confusion=True), samples, ['a', 'b', 'c'])
    assert metrics['top1'] == pytest.approx(3 / 5)
    assert metrics['top2'] == 1.0
    # a: 1 hit of 2 true and 2 predicted; b: 1 of 2 and 1; c: 1 of 1 and 2.
    assert metrics['f1'] == pytest.approx((2 / 4 + 2 / 3 + 2 / 3) / 3)
    assert metrics['confusion'] == [[1, 0, 1], [1, 1, 0], [0, 0, 1]]


def test_macro_f1_is_the_slow_formula_over_classes_that_occur():
    draws = np.random.RandomState(0)
    labels, predictions = draws.randint(0, 6, 200), draws.randint(0, 5, 200)
    confusion = np.zeros((8, 8), int)  # 5 is never predicted, 6 and 7 occur nowhere
    for truth, guess in zip(labels, predictions, strict=True):
        confusion[truth, guess] += 1
    slow = []
    for c in range(6):
        precision = (labels[predictions == c] == c).mean() if (predictions == c).any() else 0.0
        recall = (predictions[labels == c] == c).mean()
        slow.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    assert macro_f1(confusion) == pytest.approx(np.mean(slow))


def test_constant_scores_count_as_wrong():
    equal = [sample(scores=[0.5, 0.5], label=0) for _ in range(4)]
    assert evaluate(ClassificationMetric(topk=(1, 2)), equal)['top1'] == 0.0


def test_a_group_is_measured_on_the_samples_of_its_classes(samples):
    groups = dict(order=['b', 'c'])
    metrics = evaluate(ClassificationMetric(groups=groups), samples, ['a', 'b', 'c'])
    assert metrics['top1_order'] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match=r"group 'order' names \['b', 'c'\]; the classes are"):
        evaluate(ClassificationMetric(groups=groups), samples, ['a', 'x', 'y'])


@pytest.mark.parametrize(
    ('options', 'change', 'message'),
    [
        (dict(topk=(4,)), {}, r'topk=\(4,\) with 3 classes'),
        (dict(classes=['a', 'b']), {}, 'scores 3 classes, the data set has 2'),
        ({}, dict(scores=[1.0, float('nan'), 0.0], label=0), '1 of 5 samples have scores'),
        ({}, dict(scores=[1.0, 0.0, 0.0], label=3), 'labels reach from 0 to 3'),
        ({}, dict(other_scores=[1.0], label=0), r"reads \['scores'\] of predicted samples"),
    ],
)
def test_what_does_not_fit_is_refused(samples, options, change, message):
    if change:
        samples[0] = sample(**change)
    with pytest.raises(ValueError, match=message):
        evaluate(ClassificationMetric(**options), samples)


def test_two_tasks_are_each_measured_and_averaged(samples):
    both = [
        sample(
            x_scores=one.scores.tolist(),
            x_label=one.label,
            y_scores=[0.0, 1.0],
            y_label=number % 2,
        )
        for number, one in enumerate(samples)
    ]
    tasks = dict(x=dict(classes=['a', 'b', 'c']), y=dict(classes=['n', 'p'], confusion=True))
    metrics = evaluate(MultiTaskMetric(tasks), both)
    alone = evaluate(ClassificationMetric(), samples)
    assert metrics['x_top1'] == alone['top1'] and metrics['x_f1'] == alone['f1']
    assert metrics['y_top1'] == pytest.approx(2 / 5)
    assert metrics['y_confusion'] == [[0, 3], [0, 2]]
    assert metrics['mean_top1'] == pytest.approx((3 / 5 + 2 / 5) / 2)
    assert metrics['mean_f1'] == pytest.approx((alone['f1'] + metrics['y_f1']) / 2)
