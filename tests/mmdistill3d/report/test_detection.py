"""What a report says of detections: hits, misses, false alarms, precision by class."""

import numpy as np
import pytest
from mmengine.config import Config

from mmdistill.report.domain import domain_of
from mmdistill.report.log import Log
from mmdistill.report.runs import Run
from mmdistill3d.report import Detection3DReport, match
from mmdistill3d.report.domain import class_precisions
from mmdistill3d.report.matching import Match, seen
from mmdistill3d.report.pictures import Seen, choose
from mmdistill3d.visualization import Boxes, Frame


def boxes(*centres, labels, scores=None):
    values = np.array([[*centre, 0, 4, 2, 1.5, 0] for centre in centres], float).reshape(-1, 7)
    return Boxes(values, np.array(labels, int), None if scores is None else np.array(scores))


def test_the_best_score_of_the_class_finds_a_box_and_the_others_are_false_alarms():
    truth = boxes((0, 0), (10, 0), (20, 0), labels=[0, 0, 1])
    found = boxes(
        (0.5, 0), (0.1, 0), (10, 1.9), (20, 0), (10, 2.1), labels=[0, 0, 0, 0, 0],
        scores=[0.9, 0.5, 0.6, 0.8, 0.7],
    )  # fmt: skip
    result = match(truth, found)
    assert result.is_hit.tolist() == [True, False, True, False, False]
    assert result.is_found.tolist() == [True, True, False]
    assert result.false_alarms == 3


def test_frames_without_boxes_or_predictions():
    none = boxes(labels=[], scores=[])
    some = boxes((0, 0), labels=[0], scores=[0.5])
    assert match(none, some).false_alarms == 1
    assert match(some, none).is_found.tolist() == [False]


def test_only_boxes_that_can_be_found_count():
    truth = boxes((5, 0), (-5, 0), (90, 0), (8, 8), labels=[0, 0, 0, -1])
    points = np.array([[5.5, 0.5, 0.2], [90, 0, 0.2], [8, 8, 0.2], [-5, 0, -0.74]])
    kept = seen(truth, points, range_m=20)  # no points inside but the ground's; too far; ignored
    assert kept.boxes[:, 0].tolist() == [5]


def test_frames_are_chosen_where_the_students_differ_most_and_others_unseen():
    def frame(number, one, other):
        truth = boxes((0, 0), (9, 0), labels=[0, 0])
        matches = {
            name: Match(np.ones(sum(found), bool), np.array(found, bool))
            for name, found in (('alone', one), ('distilled', other))
        }
        return Seen(number, Frame(str(number), np.zeros((0, 3)), truth), {}, matches)

    same, better, worse = ([1, 0], [1, 0]), ([0, 0], [1, 1]), ([1, 0], [0, 1])
    looked = [frame(n, *kind) for n, kind in enumerate([same, same, better, same, worse, same])]
    chosen = choose(looked, ['alone', 'distilled'])
    assert [one.number for one, _ in chosen] == [2, 4, 1, 3]
    assert 'differ most' in chosen[0][1] and 'Not chosen' in chosen[3][1]
    assert [one.number for one, _ in choose(looked[:1], ['alone'])] == [0]
    assert looked[2].describe().startswith('Frame 2. alone finds 0 of 2 with 0 false alarms; dist')


def test_precisions_of_classes_by_nuscenes_and_by_kitti():
    prefix = 'NuScenes metric/pred_instances_3d_NuScenes'
    result = {f'{prefix}/traffic_cone_AP_dist_{d}': v for d, v in (('0.5', 0.2), ('4.0', 0.6))}
    result |= {f'{prefix}/car_trans_err': 0.3, f'{prefix}/mAP': 0.5, f'{prefix}/NDS': 0.4}
    assert class_precisions(result) == {'traffic_cone': pytest.approx(0.4)}
    assert Detection3DReport().metrics(result) == {'mAP': 0.5, 'NDS': 0.4}
    prefix = 'Kitti metric/pred_instances_3d/KITTI'
    result = {
        f'{prefix}/Car_3D_AP40_moderate_strict': 70.0,
        f'{prefix}/Car_3D_AP40_easy_strict': 90.0,
        f'{prefix}/Overall_3D_AP40_moderate': 60.0,
    }
    assert class_precisions(result) == {'Car': 70.0}
    assert Detection3DReport().metrics(result) == {'3D mAP (moderate)': 60.0}


def test_detectors_have_their_own_page_and_other_models_the_general_one(tmp_path):
    def run(scope):
        return Run('', 'alone', tmp_path, Config(dict(default_scope=scope)), Log())

    assert isinstance(domain_of([run('mmdet3d')]), Detection3DReport)
    assert not isinstance(domain_of([run('mmdet3d'), run('mmengine')]), Detection3DReport)
