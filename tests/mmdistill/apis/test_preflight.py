"""Models of any kind are checked; what does not apply to them is skipped, not failed."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import METRICS, MODELS

from mmdistill.apis.preflight import Verdict, preflight
from tests.mmdistill.tiny import TinyAccuracy, TinyClassifier, runner_config


@METRICS.register_module(force=True)
class WholeSplitAccuracy(TinyAccuracy):
    """A metric that takes nothing but all twelve samples."""

    def compute_metrics(self, results):
        assert len(results) == 12, 'samples are missing'
        return super().compute_metrics(results)


@MODELS.register_module(force=True)
class SilentClassifier(TinyClassifier):
    """A model that does not say what it takes."""

    example_batch = None


@pytest.fixture
def check(tmp_path):
    """``check(model, **changes)`` -> verdicts by check, and the text of the report."""

    def run(model, **changes):
        found = list(preflight(Config(runner_config(tmp_path, model, **changes))))
        verdicts = {}
        for name, finding in found:
            verdicts.setdefault(name, []).append(finding.verdict)
        return verdicts, '\n'.join(finding.as_text(name) for name, finding in found)

    return run


def test_a_classifier_under_a_teacher_passes_and_its_own_metric_tells_the_accuracy(
    check, distiller_config
):
    verdicts, text = check(distiller_config())
    assert {verdict for some in verdicts.values() for verdict in some} == {Verdict.OK}, text
    assert set(verdicts) == {'data', 'samples', 'model', 'teacher', 'parts', 'accuracy'} | {
        'step',
        'cost',
    }
    assert 'teacher: confidence 0.2' in text
    assert 'on 12 of 12 samples' in text
    assert 'link attention: backbone[1] <- backbone[1]' in text


def test_a_metric_that_needs_the_whole_split_is_skipped_with_its_reason(
    check, distiller_config, monkeypatch
):
    monkeypatch.setattr('mmdistill.apis.preflight.state.PREDICTION_S', 0)
    verdicts, text = check(distiller_config(), val_evaluator=dict(type='WholeSplitAccuracy'))
    assert verdicts['accuracy'] == [Verdict.SKIPPED]
    assert 'WholeSplitAccuracy did not evaluate 1 of 12 samples' in text
    assert 'samples are missing' in text
    assert Verdict.FAILED not in {verdict for some in verdicts.values() for verdict in some}


def test_without_data_a_model_is_trained_on_the_batch_that_it_makes_up(check):
    model = dict(type='TinyClassifier', width=8)
    verdicts, text = check(model, train_dataloader=None, val_dataloader=None)
    assert verdicts['step'] == [Verdict.OK], text
    assert verdicts['cost'] == [Verdict.OK, Verdict.OK]
    assert 'made-up batch of' in text


def test_a_step_without_data_is_skipped_for_a_model_that_nobody_knows(check):
    model = dict(type='SilentClassifier', width=8)
    verdicts, text = check(model, train_dataloader=None, val_dataloader=None)
    assert verdicts['step'] == verdicts['cost'] == [Verdict.SKIPPED]
    assert 'what samples of SilentClassifier look like' in text


def test_weights_of_another_model_fail(check, distiller_config, teacher_file):
    torch.save(dict(state_dict=TinyClassifier(4).state_dict()), teacher_file)
    verdicts, text = check(distiller_config())
    assert verdicts['teacher'] == [Verdict.FAILED]
    assert verdicts['accuracy'] == [Verdict.SKIPPED]
    assert verdicts['step'][0] is Verdict.OK, text
