"""Drawing during an evaluation is switched on where the config has the hook for it."""

import pytest
from mmengine.config import Config

from mmdistill3d.apis.drawing import draw_detections


def test_the_hook_is_needed_and_a_task():
    with pytest.raises(ValueError, match='default_hooks.visualization'):
        draw_detections(Config(dict(model={})), task='lidar_det')
    cfg = Config(dict(default_hooks=dict(visualization=dict(type='Det3DVisualizationHook'))))
    with pytest.raises(ValueError, match='need --task, one of mono_det'):
        draw_detections(cfg, task=None)


def test_the_hook_draws_what_is_asked_for():
    pytest.importorskip('open3d', exc_type=ImportError)
    cfg = Config(dict(default_hooks=dict(visualization=dict(type='Det3DVisualizationHook'))))
    draw_detections(cfg, 'lidar_det', score_thr=0.3, out_dir='pictures')
    assert cfg.default_hooks.visualization == dict(
        type='Det3DVisualizationHook',
        draw=True,
        vis_task='lidar_det',
        score_thr=0.3,
        test_out_dir='pictures',
    )
