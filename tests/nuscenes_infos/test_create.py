"""Info files and object databases from the tables of a data set, shown on the embedded one."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import mmdet3d
import numpy as np
import pytest
from mmdet3d.datasets import NuScenesDataset
from mmdet3d.datasets.convert_utils import NuScenesNameMapping
from mmdet3d.registry import DATASETS, TRANSFORMS
from mmdet3d.structures.ops import box_np_ops
from mmengine.registry import DefaultScope

import bevfusion  # noqa: F401  (registers the sampler)
from lidarsim import Parameters, generate_dataset
from nuscenes_infos import CATEGORY_TO_CLASS, CLASSES, NuScenesTables, build_infos
from nuscenes_infos.create import create_nuscenes
from nuscenes_infos.object_database import ObjectDatabase, points_in_boxes

VERSION = 'v1.0-trainval'
PARAMETERS = Parameters(scenes=3, val_scenes=2, frames=4, sweeps=2, azimuths=360)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """The embedded data set; no test writes into it."""
    path = tmp_path_factory.mktemp('create_data') / 'lidarsim'
    generate_dataset(path, PARAMETERS)
    return path


@pytest.fixture(scope='module')
def out(root):
    """What the tool makes of it, with the sweeps that the embedded data set lists."""
    create_nuscenes(root, VERSION, root.parent / 'out', max_sweeps=2)
    return root.parent / 'out'


def read(folder, name):
    return pickle.loads((folder / f'nuscenes_{name}.pkl').read_bytes())


def assert_has_all(expected, found, path=''):
    """Every entry of ``expected`` is in ``found`` with its value; ``found`` may have more."""
    if expected is None:
        return
    if isinstance(expected, dict):
        for key, value in expected.items():
            assert_has_all(value, found.get(key), f'{path}.{key}')
    elif isinstance(expected, (list, tuple)) and expected and isinstance(expected[0], dict):
        assert len(expected) == len(found), path
        for one, other in zip(expected, found, strict=True):
            assert_has_all(one, other, path)
    elif isinstance(expected, str):
        assert expected == found, path
    else:
        np.testing.assert_allclose(
            np.asarray(found, float), np.asarray(expected, float), atol=1e-5, err_msg=path
        )


def test_the_classes_are_those_of_mmdet3d():
    assert NuScenesDataset.METAINFO['classes'] == CLASSES
    assert NuScenesNameMapping == CATEGORY_TO_CLASS


@pytest.mark.parametrize('split', ['train', 'val'])
def test_infos_of_the_embedded_data_set_are_reproduced_field_by_field(root, out, split):
    ours, theirs = read(out, f'infos_{split}'), read(root, f'infos_{split}')
    assert ours['metainfo'] == theirs['metainfo']
    assert len(ours['data_list']) == len(theirs['data_list'])
    assert_has_all(theirs['data_list'], ours['data_list'])


def test_a_mini_version_has_its_own_splits_and_name(root, tmp_path, repository):
    from nuscenes.utils import splits

    mini = tmp_path / 'mini'
    shutil.copytree(root / 'v1.0-trainval', mini / 'v1.0-mini')
    for folder in ('samples', 'sweeps'):
        (mini / folder).symlink_to(root / folder)
    scenes = mini / 'v1.0-mini' / 'scene.json'
    rows = json.loads(scenes.read_text())
    for row, name in zip(rows, splits.mini_train[:3] + splits.mini_val[:2], strict=True):
        row['name'] = name
    scenes.write_text(json.dumps(rows))
    with pytest.raises(FileNotFoundError, match='has no v1.0-trainval/: it has v1.0-mini'):
        create_nuscenes(mini, VERSION)
    command = [sys.executable, repository / 'tools' / 'create_data.py', 'nuscenes']
    command += ['--root-path', mini, '--version', 'v1.0-mini', '--no-database']
    command += ['--out-dir', tmp_path / 'out', '--max-sweeps', '2']
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 'val_dataloader.dataset.metainfo.version=v1.0-mini' in done.stdout
    for split in ('train', 'val'):
        ours, theirs = read(tmp_path / 'out', f'infos_{split}'), read(root, f'infos_{split}')
        assert ours['metainfo'] == {**theirs['metainfo'], 'version': 'v1.0-mini'}
        assert_has_all(theirs['data_list'], ours['data_list'])


def test_a_tilted_sensor_is_transformed_like_in_the_devkit(root, tmp_path):
    """Slopes and banked sensors, which the embedded data set has not."""
    nuscenes = pytest.importorskip('nuscenes')
    shutil.copytree(root, tmp_path / 'tilted')
    tables = tmp_path / 'tilted' / 'v1.0-trainval'
    rng = np.random.default_rng(0)
    for name in ('calibrated_sensor', 'ego_pose'):
        rows = json.loads((tables / f'{name}.json').read_text())
        for row in rows:
            row['rotation'] = (np.array(row['rotation']) + rng.normal(0, 0.02, 4)).tolist()
            row['translation'] = (np.array(row['translation']) + rng.normal(0, 1, 3)).tolist()
        (tables / f'{name}.json').write_text(json.dumps(rows))
    nusc = nuscenes.NuScenes('v1.0-trainval', str(tmp_path / 'tilted'), verbose=False)
    ours = NuScenesTables(tmp_path / 'tilted', 'v1.0-trainval')
    frames = build_infos(ours, {scene['token'] for scene in nusc.scene})['data_list']
    for frame in frames[::3]:
        sample = nusc.get('sample', frame['token'])
        _, boxes, _ = nusc.get_sample_data(sample['data']['LIDAR_TOP'])
        assert len(boxes) == len(frame['instances'])
        for box, instance in zip(boxes, frame['instances'], strict=True):
            np.testing.assert_allclose(instance['bbox_3d'][:3], box.center, atol=1e-6)
            axis = box.orientation.rotation_matrix[:2, 0]
            yaw = instance['bbox_3d'][6]
            assert np.dot(axis, [np.cos(yaw), np.sin(yaw)]) > 0.999 * np.linalg.norm(axis)
        point = np.array([3.0, -2.0, 0.5, 1.0])
        lidar2global = np.array(frame['ego2global']) @ frame['lidar_points']['lidar2ego']
        for image in frame['images'].values():
            row = nusc.get('sample_data', image['sample_data_token'])
            pose = nusc.get('ego_pose', row['ego_pose_token'])
            ego2global = nuscenes.utils.geometry_utils.transform_matrix(
                pose['translation'], nuscenes.nuscenes.Quaternion(pose['rotation'])
            )
            np.testing.assert_allclose(
                ego2global @ image['cam2ego'] @ image['lidar2cam'] @ point,
                lidar2global @ point,
                atol=1e-6,
            )


@pytest.mark.slow
def test_mmdet3d_converter_computes_the_same_with_ten_sweeps_and_images(root, tmp_path):
    mim = Path(mmdet3d.__file__).parent / '.mim'
    if not mim.is_dir():
        pytest.skip('mmdet3d was installed without its tools')
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'nuscenes').symlink_to(root)
    shutil.copytree(root, tmp_path / 'copy')
    script = f"""
import sys; sys.path.insert(0, {str(mim)!r})
from tools.dataset_converters.nuscenes_converter import create_nuscenes_infos
from tools.dataset_converters.update_infos_to_v2 import update_pkl_infos
create_nuscenes_infos('./copy', 'nuscenes', version='v1.0-trainval', max_sweeps=10)
for split in ('train', 'val'):
    update_pkl_infos('nuscenes', out_dir='./new', pkl_path=f'./copy/nuscenes_infos_{{split}}.pkl')
"""
    (tmp_path / 'new').mkdir()
    done = subprocess.run(
        [sys.executable, '-c', script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    create_nuscenes(root, VERSION, tmp_path / 'ten', database=False)
    for split in ('train', 'val'):
        theirs, ours = (read(tmp_path / name, f'infos_{split}') for name in ('new', 'ten'))
        assert ours['metainfo'] == theirs['metainfo']
        for frame in theirs['data_list']:
            frame.pop('cam_instances')
            for sweep in frame.get('lidar_sweeps', ()):
                path = Path(sweep['lidar_points']['lidar_path'])
                sweep['lidar_points']['lidar_path'] = str(path.relative_to('copy'))
            for box in frame['instances']:
                box['velocity'] = np.nan_to_num(box['velocity']).tolist()
        for frame in ours['data_list']:
            for box in frame['instances']:
                box['velocity'] = np.nan_to_num(box['velocity']).tolist()
        assert_has_all(theirs['data_list'], ours['data_list'])


def test_points_in_boxes_agree_with_mmdet3d():
    rng = np.random.default_rng(0)
    points = rng.uniform(-8, 8, (4000, 5)).astype(np.float32)
    boxes = np.concatenate(
        [rng.uniform(-6, 6, (12, 3)), rng.uniform(0.5, 6, (12, 3)), rng.uniform(-4, 4, (12, 1))], 1
    ).astype(np.float32)
    expected = box_np_ops.points_in_rbbox(points, boxes)
    found = points_in_boxes(points, boxes)
    assert [list(indices) for indices in found] == [list(np.flatnonzero(c)) for c in expected.T]


def test_the_object_database_holds_every_object_with_points(root, out):
    objects = read(out, 'dbinfos_train')
    frames = read(root, 'infos_train')['data_list']
    names = list(read(root, 'infos_train')['metainfo']['categories'])
    valid = [box for frame in frames for box in frame['instances'] if box['bbox_3d_isvalid']]
    for label, name in enumerate(names):
        count = sum(box['bbox_label_3d'] == label for box in valid)
        assert len(objects[name]) == count, name
    entries = [entry for some in objects.values() for entry in some]
    assert len({entry['group_id'] for entry in entries}) == len(entries)
    for entry in entries[::7]:
        points = np.fromfile(out / entry['path'], np.float32).reshape(-1, 5)
        assert len(points) == entry['num_points_in_gt'] > 0
        assert (np.abs(points[:, :2]) <= np.hypot(*entry['box3d_lidar'][3:5]) / 2).all()
        assert (points[:, 2] >= 0).all()
        assert (points[:, 2] <= entry['box3d_lidar'][5]).all()
        centre = frames[entry['image_idx']]['instances'][entry['gt_idx']]['bbox_3d']
        assert np.abs(np.array(centre[:2]) - entry['box3d_lidar'][:2]).max() < 30


@pytest.mark.parametrize('sampler', ['BEVFusionDataBaseSampler', 'DataBaseSampler'])
def test_objects_are_pasted_from_the_database(root, out, sampler):
    classes = list(read(root, 'infos_train')['metainfo']['categories'])
    loader = dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=5, use_dim=5)
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        frame = dict(
            type='NuScenesDataset',
            data_root=str(root),
            ann_file=str(out / 'nuscenes_infos_train.pkl'),
            data_prefix=dict(pts='samples/LIDAR_TOP', sweeps='sweeps/LIDAR_TOP'),
            metainfo=dict(classes=classes),
            pipeline=[
                loader,
                dict(type='LoadAnnotations3D', with_bbox_3d=True, with_label_3d=True),
            ],
        )
        before = DATASETS.build(frame)
        paste = TRANSFORMS.build(
            dict(
                type='ObjectSample',
                db_sampler=dict(
                    type=sampler,
                    data_root=str(out),
                    info_path=str(out / 'nuscenes_dbinfos_train.pkl'),
                    rate=1.0,
                    prepare=dict(
                        filter_by_difficulty=[-1],
                        filter_by_min_points={
                            **dict.fromkeys(classes, 5),
                            'bus': 10**6,
                        },  # none left
                    ),
                    classes=classes,
                    sample_groups=dict(car=30, bus=30, pedestrian=30),
                    points_loader=loader,
                ),
            )
        )
    sample = before.pipeline(before.get_data_info(1))
    boxes = len(sample['gt_bboxes_3d'])
    points = len(sample['points'])
    pasted = paste(sample)
    assert len(pasted['gt_bboxes_3d']) > boxes
    assert len(pasted['gt_labels_3d']) == len(pasted['gt_bboxes_3d'])
    assert len(pasted['points']) > points / 2
    added = pasted['gt_bboxes_3d'].tensor[boxes:].numpy()
    inside = points_in_boxes(pasted['points'].tensor.numpy(), added)
    assert all(len(indices) >= 5 for indices in inside)


def test_a_second_call_changes_nothing(root, out):
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    lines = []
    create_nuscenes(root, VERSION, out, max_sweeps=2, report=lines.append)
    assert sum(line.endswith('complete already') for line in lines) == 3
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*')} == before


def test_other_infos_are_not_replaced_unasked(root, tmp_path):
    info = tmp_path / 'nuscenes_infos_train.pkl'
    info.write_bytes(b'mine')
    with pytest.raises(FileExistsError, match='--force replaces it'):
        create_nuscenes(root, VERSION, tmp_path, database=False)
    assert info.read_bytes() == b'mine'
    create_nuscenes(root, VERSION, tmp_path, database=False, force=True)
    assert read(tmp_path, 'infos_train')['data_list']


def test_scenes_without_all_their_files_can_be_left_out(root, tmp_path):
    copy = tmp_path / 'data'
    shutil.copytree(root, copy)
    first = read(root, 'infos_train')['data_list'][0]
    (copy / 'samples' / 'LIDAR_TOP' / first['lidar_points']['lidar_path']).unlink()
    with pytest.raises(FileNotFoundError, match='1 of 60 LiDAR files(.|\n)*--allow-partial'):
        create_nuscenes(copy, VERSION, tmp_path, database=False)
    create_nuscenes(copy, VERSION, tmp_path, database=False, allow_partial=True)
    rest = read(root, 'infos_train')['data_list'][PARAMETERS.frames :]
    assert [frame['token'] for frame in read(tmp_path, 'infos_train')['data_list']] == [
        frame['token'] for frame in rest
    ]
    assert [frame['sample_idx'] for frame in read(tmp_path, 'infos_train')['data_list']] == [
        *range(len(rest))
    ]


def test_leaving_all_scenes_out_is_an_error(root, tmp_path):
    copy = tmp_path / 'data'
    shutil.copytree(root, copy, ignore=lambda folder, names: [n for n in names if '.bin' in n])
    with pytest.raises(FileNotFoundError, match='nothing is left of v1.0-trainval'):
        create_nuscenes(copy, VERSION, tmp_path, database=False, allow_partial=True)
    assert not (tmp_path / 'nuscenes_infos_train.pkl').exists()


def test_a_stopped_run_goes_on_and_gives_the_same_database(root, out, tmp_path, monkeypatch):
    monkeypatch.setattr('nuscenes_infos.object_database.FRAMES_PER_PART', 5)
    for split in ('train', 'val'):
        shutil.copy(out / f'nuscenes_infos_{split}.pkl', tmp_path)
    database = ObjectDatabase(root, tmp_path, max_sweeps=2)
    frame = read(out, 'infos_train')['data_list'][8]
    file = root / 'samples' / 'LIDAR_TOP' / frame['lidar_points']['lidar_path']
    hidden = file.with_suffix('.hidden')
    file.rename(hidden)
    try:
        with pytest.raises(FileNotFoundError):
            database.write()
    finally:
        hidden.rename(file)
    assert not database.dbinfos.exists()
    assert not database.folder.exists()
    (part,) = (tmp_path / '.nuscenes_gt_database.partial').glob('part_*.pkl')
    assert database.write()
    assert not part.parent.exists()
    assert_has_all(read(out, 'dbinfos_train'), read(tmp_path, 'dbinfos_train'))
    for path in (out / 'nuscenes_gt_database').glob('*.bin'):
        assert (database.folder / path.name).read_bytes() == path.read_bytes()
    assert not database.write()


def test_a_database_of_unknown_origin_is_not_replaced_unasked(root, out, tmp_path):
    shutil.copy(out / 'nuscenes_infos_train.pkl', tmp_path)
    database = ObjectDatabase(root, tmp_path, max_sweeps=2)
    database.folder.mkdir()
    (database.folder / 'mine.bin').touch()
    with pytest.raises(FileExistsError, match='--force'):
        database.write()
    assert (database.folder / 'mine.bin').exists()


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda root: shutil.rmtree(root), 'there is no folder'),
        (lambda root: (root / 'v1.0-trainval/sample.json').unlink(), 'sample.json is missing'),
        (lambda root: os.truncate(root / 'v1.0-trainval/ego_pose.json', 999), 'no complete JSON'),
        (lambda root: (root / 'sweeps').unlink(), '--max-sweeps 0'),
        (lambda root: (root / 'samples').unlink(), 'The download is incomplete'),
    ],
    ids=['no root', 'no table', 'cut table', 'no sweeps', 'no key frames'],
)
def test_what_is_missing_is_named_with_what_to_do(root, tmp_path, damage, message):
    copy = tmp_path / 'data'
    shutil.copytree(root / 'v1.0-trainval', copy / 'v1.0-trainval')
    for folder in ('samples', 'sweeps'):
        (copy / folder).symlink_to(root / folder)
    damage(copy)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        create_nuscenes(copy, VERSION, tmp_path / 'out', database=False)
    assert not list(tmp_path.rglob('nuscenes_infos_*'))
