"""MMDetection3D's LiDAR BEVFusion config works with nothing but custom_imports changed."""

import pickle

import numpy as np
import pytest
from mmdet3d.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TASK_UTILS,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
)
from mmengine.config import Config
from mmengine.registry import DefaultScope

from tests.bevfusion import recording

FILE = recording.PUBLISHED


@pytest.fixture
def published():
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        yield Config.fromfile(FILE)


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])  # both were published
def test_it_builds_the_published_keys_and_shapes(published, norm):
    if norm == 'SyncBN':
        for part in ('pts_middle_encoder', 'pts_backbone', 'pts_neck'):
            published.model[part].norm_cfg.type = 'SyncBN'
    model = MODELS.build(published.model)
    assert recording.keys_of(model) == recording.keys('published')


@pytest.fixture
def data_root(tmp_path):
    """A small nuScenes with one object to paste."""
    lidarsim = pytest.importorskip('lidarsim')
    root = tmp_path / 'nuscenes'
    lidarsim.generate_dataset(root, lidarsim.Parameters(scenes=1, val_scenes=1, frames=2))
    points = np.random.RandomState(0).uniform(-1, 1, (20, 5)).astype(np.float32)
    points.tofile(root / 'digger.bin')
    digger = dict(
        name='construction_vehicle',
        path='digger.bin',
        box3d_lidar=np.float32([40, 0, -1, 6, 3, 3, 0.3, 0, 0]),  # where the world is empty
        num_points_in_gt=20,
        difficulty=0,
        group_id=0,
    )
    infos = {name: [] for name in Config.fromfile(FILE).class_names} | {digger['name']: [digger]}
    (root / 'nuscenes_dbinfos_train.pkl').write_bytes(pickle.dumps(infos))
    return f'{root}/'


def test_its_pipelines_run(published, data_root):
    train, test = published.train_dataloader.dataset, published.test_dataloader.dataset
    train.dataset.data_root = test.data_root = data_root
    paste = train.dataset.pipeline[3].db_sampler
    paste.update(data_root=data_root, info_path=f'{data_root}nuscenes_dbinfos_train.pkl')
    item = DATASETS.build(train)[0]
    truth = item['data_samples'].gt_instances_3d
    assert len(truth.bboxes_3d) == len(truth.labels_3d) > 1
    assert truth.bboxes_3d.tensor[:, :2].norm(dim=1).max() > 30  # the pasted one
    assert item['inputs']['points'].shape[1] == 5
    assert DATASETS.build(test)[0]['inputs']['points'].shape[1] == 5


def test_every_name_in_it_is_registered(published):
    parts = {
        'model': MODELS,
        'train_dataloader': DATASETS,
        'test_dataloader': DATASETS,
        'test_evaluator': METRICS,
        'visualizer': VISUALIZERS,
        'default_hooks': HOOKS,
        'custom_hooks': HOOKS,
        'param_scheduler': PARAM_SCHEDULERS,
        'optim_wrapper': OPTIM_WRAPPERS,
    }
    inside = {
        'pipeline': TRANSFORMS,
        'sampler': DATA_SAMPLERS,
        'assigner': TASK_UTILS,
        'bbox_coder': TASK_UTILS,
        'optimizer': OPTIMIZERS,
        'vis_backends': VISBACKENDS,
    }
    content = published.to_dict()
    names = [pair for key, own in parts.items() for pair in types_in(content[key], inside, own)]
    assert len(names) > 50
    assert [name for name, registry in names if registry.get(name) is None] == []


def types_in(value, registries, registry):
    """Every `type` in a part of a config with the registry that it is looked up in."""
    if isinstance(value, dict):
        if isinstance(value.get('type'), str):
            yield value['type'], registry
        for key, item in value.items():
            yield from types_in(item, registries, registries.get(key, registry))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from types_in(item, registries, registry)
