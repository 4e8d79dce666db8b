"""Accuracies come from what evaluations and trainings wrote."""

import json

import pytest

from mmdistill.analysis.results import last_validation, read_accuracy, read_result

METRICS = {'prefix/car_AP_dist_0.5': 0.1, 'prefix/mAP': 0.61, 'prefix/NDS': 0.52}


def test_accuracies_are_read_from_files_lines_and_work_dirs(tmp_path):
    whole = tmp_path / 'run' / '20250101_000000' / '20250101_000000.json'
    whole.parent.mkdir(parents=True)
    whole.write_text(json.dumps(METRICS))
    lines = tmp_path / 'scalars.json'
    later = {'prefix/mAP': 0.7, 'prefix/NDS': 0.6}
    lines.write_text('\n'.join(json.dumps(line) for line in (METRICS, later, {'loss': 1.0})))
    assert read_result(str(whole)) == read_result(str(tmp_path / 'run')) == dict(mAP=0.61, NDS=0.52)
    assert read_result(str(lines)) == dict(mAP=0.7, NDS=0.6)
    assert read_result('-') == read_result(None) == {}
    whole.write_text('{"loss": 1.0}')
    with pytest.raises(FileNotFoundError, match='no mAP and NDS'):
        read_result(str(whole))


def test_metrics_of_other_names_are_read_where_they_are_asked_for(tmp_path):
    flat = tmp_path / 'test' / '20250101_000000' / '20250101_000000.json'
    flat.parent.mkdir(parents=True)
    flat.write_text(json.dumps({'top1': 0.9, 'f1': 0.8}))
    whole = tmp_path / 'train' / 'results.json'  # of MetricsFileHook
    whole.parent.mkdir()
    whole.write_text(json.dumps({'test': {'top1': 0.7, 'f1': 0.6}, 'best': {'top1': 0.99}}))
    assert read_result(str(tmp_path / 'test'), ['top1', 'f1']) == dict(top1=0.9, f1=0.8)
    assert read_result(str(whole), ['top1']) == read_result(str(whole.parent), ['top1'])
    assert read_result(str(whole), ['top1']) == dict(top1=0.7)
    with pytest.raises(FileNotFoundError, match='no mAP and NDS'):
        read_result(str(whole))


def test_an_evaluation_without_metrics_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='mAP and NDS'):
        read_accuracy(tmp_path)


def test_the_last_validation_of_a_training_is_read(tmp_path):
    for day, value in (('20250101', 0.4), ('20250102', 0.5)):
        log = tmp_path / day / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        lines = [
            {'m/mAP': value - 0.1, 'm/NDS': 0.1},
            {'loss': 1.0},
            {'m/mAP': value, 'm/NDS': 0.2},
        ]
        log.write_text('\n'.join(map(json.dumps, lines)))
    assert last_validation(tmp_path) == dict(mAP=0.5, NDS=0.2)
    assert last_validation(tmp_path, ['NDS']) == dict(NDS=0.2)
    with pytest.raises(FileNotFoundError, match='no validation with mAP and NDS'):
        last_validation(tmp_path / '20250101')
