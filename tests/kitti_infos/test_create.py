"""KITTI's info files, reduced clouds and objects, against MMDetection3D's own converter."""

import pickle
import shutil
import sys
from pathlib import Path

import mmdet3d
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

import bevfusion  # noqa: F401  (mends the sampler)
from kitti_infos import CLASSES, Label, create_kitti, read_labels
from lidarsim import Parameters, generate_dataset
from mmdistill.apis.config import moved_paths

PARAMETERS = Parameters(
    scenes=2, val_scenes=1, frames=2, sweeps=0, azimuths=270, seed=1, layout='kitti'
)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """The embedded data set in KITTI's form, with grounds; no test writes into it."""
    path = tmp_path_factory.mktemp('kitti') / 'lidarsim_kitti'
    generate_dataset(path, PARAMETERS)
    (path / 'training' / 'planes').mkdir()
    for number, file in enumerate(sorted((path / 'training' / 'calib').iterdir())):
        ground = f'# Plane\nWidth 4\nHeight 1\n0.01 -0.999 {number / 100} 1.7{number}\n'
        (path / 'training' / 'planes' / file.name).write_text(ground)
    return path


@pytest.fixture(scope='module')
def out(root):
    """What the tool makes of it."""
    create_kitti(root, root.parent / 'out', with_plane=True)
    return root.parent / 'out'


@pytest.fixture(scope='module')
def converters():
    """MMDetection3D's tools, which are no part of its package."""
    folder = Path(mmdet3d.__file__).parent / '.mim' / 'tools'
    if not folder.is_dir():
        pytest.skip('mmdet3d was installed without its tools')
    sys.path.append(str(folder))
    from dataset_converters import create_gt_database, kitti_converter, update_infos_to_v2

    yield kitti_converter, update_infos_to_v2, create_gt_database
    sys.path.remove(str(folder))


def read(folder, name):
    return pickle.loads((folder / f'kitti_{name}.pkl').read_bytes())


def flat(value, path=''):
    """Numbers and names in nested dicts and lists, by where they are."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = {}
    for key, item in items:
        item = item.tolist() if isinstance(item, np.ndarray) else item
        nested = isinstance(item, (dict, list, tuple))
        found |= flat(item, f'{path}/{key}') if nested else {f'{path}/{key}': item}
    return found


def test_mmdet3ds_converter_writes_equal_infos_clouds_and_objects(root, out, converters, tmp_path):
    kitti_converter, update_infos_to_v2, create_gt_database = converters
    old, new = tmp_path / 'old', tmp_path / 'new'
    for folder in (old, new, tmp_path / 'clouds'):
        folder.mkdir()
    kitti_converter.create_kitti_info_file(root, 'kitti', with_plane=True, save_path=old)
    for split in ('train', 'val', 'trainval', 'test'):
        name = f'kitti_infos_{split}.pkl'
        update_infos_to_v2.update_kitti_infos(str(old / name), str(new))
        theirs, ours = read(new, f'infos_{split}'), read(out, f'infos_{split}')
        assert theirs['metainfo'] == ours['metainfo']
        assert len(theirs['data_list']) == len(ours['data_list']) > 0
        for frame, own in zip(theirs['data_list'], ours['data_list'], strict=True):
            frame.pop('cam_instances', None)
            expected, found = flat(frame), flat(own)
            assert expected.keys() == found.keys()
            names = {key for key, value in expected.items() if isinstance(value, str)}
            assert {key: found[key] for key in names} == {key: expected[key] for key in names}
            numbers = [key for key in expected if key not in names]
            np.testing.assert_allclose(
                [found[key] for key in numbers], [expected[key] for key in numbers], rtol=2e-6
            )
    for split, part in (('train', 'training'), ('val', 'training'), ('test', 'testing')):
        infos = old / f'kitti_infos_{split}.pkl'
        kitti_converter._create_reduced_point_cloud(root, infos, tmp_path / 'clouds')
        for frame in read(out, f'infos_{split}')['data_list']:
            file = frame['lidar_points']['lidar_path']
            assert (tmp_path / 'clouds' / file).read_bytes() == (
                out / part / 'velodyne_reduced' / file
            ).read_bytes()
    with DefaultScope.overwrite_default_scope('mmdet3d'):
        create_gt_database.create_groundtruth_database(
            'KittiDataset',
            str(out),
            'kitti',
            'kitti_infos_train.pkl',
            relative_path=False,
            database_save_path=str(tmp_path / 'kitti_gt_database'),
            db_info_save_path=str(tmp_path / 'kitti_dbinfos_train.pkl'),
        )
    theirs, ours = read(tmp_path, 'dbinfos_train'), read(out, 'dbinfos_train')
    for name in CLASSES:  # they keep objects without points, too
        expected = [entry for entry in theirs.get(name, ()) if entry['num_points_in_gt']]
        assert len(expected) == len(ours[name])
        for entry, own in zip(expected, ours[name], strict=True):
            np.testing.assert_array_equal(entry['box3d_lidar'], own['box3d_lidar'])
            assert (tmp_path / entry['path']).read_bytes() == (out / own['path']).read_bytes()
            assert entry['difficulty'] == own['difficulty']
    assert all(len(ours[name]) for name in ('Car', 'Pedestrian'))


def test_the_published_pipeline_pastes_objects_of_the_database(out, repository):
    cfg = Config.fromfile(repository / 'configs' / 'pointpillars' / 'pointpillars_teacher_kitti.py')
    cfg.merge_from_dict(moved_paths(cfg.to_dict(), 'data/kitti', str(out)))
    published = cfg.train_dataloader.dataset.dataset
    published.pipeline[2].use_ground_plane = True
    np.random.seed(0)
    counts = []
    for steps in (published.pipeline, [s for s in published.pipeline if s.type != 'ObjectSample']):
        with DefaultScope.overwrite_default_scope('mmdet3d'):
            sample = DATASETS.build({**published, 'pipeline': steps})[0]
        counts.append(len(sample['data_samples'].gt_instances_3d))
        assert len(sample['inputs']['points']) > 500
    assert counts[0] > counts[1] > 0


def test_a_second_call_changes_nothing_and_other_infos_are_kept(root, out, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    lines = []
    create_kitti(root, out, with_plane=True, report=lines.append)
    assert sum(line.endswith('complete already') for line in lines) == 5
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*')} == before
    info = tmp_path / 'kitti_infos_train.pkl'
    info.write_bytes(b'mine')
    with pytest.raises(FileExistsError, match='--force replaces it'):
        create_kitti(root, tmp_path, database=False)
    assert info.read_bytes() == b'mine'


def test_a_stopped_run_goes_on_from_the_clouds_that_it_wrote(root, out, tmp_path):
    copy = tmp_path / 'data'
    shutil.copytree(root, copy, ignore=lambda *_: ['velodyne_reduced'])
    for path in copy.glob('kitti_*'):
        path.unlink()
    frames = sorted((copy / 'training' / 'velodyne').iterdir())
    whole = frames[2].read_bytes()
    frames[2].write_bytes(whole[:-4])
    with pytest.raises(ValueError, match='no multiple of 4: it is cut short'):
        create_kitti(copy, database=False)
    assert not list(copy.glob('kitti_*'))
    frames[2].write_bytes(whole)
    frames[0].unlink()  # its reduced cloud is there
    create_kitti(copy, with_plane=True, database=False)
    for split in ('train', 'val', 'trainval', 'test'):
        assert read(copy, f'infos_{split}') == read(out, f'infos_{split}')


@pytest.mark.parametrize(
    ('file', 'content', 'message'),
    [
        ('ImageSets/val.txt', None, 'val.txt is missing: it lists the frames of the split'),
        ('ImageSets/train.txt', 'a\n', 'lists the numbers of frames, one a line'),
        ('training/image_2/000000.png', None, 'unpack the archive with image_2/'),
        ('training/calib/000000.txt', 'P0: 1 2\n', 'expected 12 values behind "P0:", found 2'),
        ('training/label_2/000000.txt', 'Car 0 0\n', 'line 1: a label has 15 columns'),
        ('training', None, '--root-path is the folder with training/'),
    ],
)
def test_what_is_missing_or_damaged_is_named(root, tmp_path, file, content, message):
    copy = tmp_path / 'data'
    shutil.copytree(root, copy, ignore=lambda *_: ['testing'])
    if content is not None:
        (copy / file).write_text(content)
    elif (copy / file).is_dir():
        shutil.rmtree(copy / file)
    else:
        (copy / file).unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        create_kitti(copy, tmp_path / 'out', database=False)


@pytest.mark.parametrize(
    ('height', 'occluded', 'truncated', 'difficulty'),
    [
        (40.5, 0, 0.15, 0),
        (40.0, 0, 0.15, 1),
        (41.0, 1, 0.0, 1),
        (41.0, 0, 0.16, 1),
        (25.5, 1, 0.30, 1),
        (25.5, 2, 0.0, 2),
        (25.5, 0, 0.5, 2),
        (25.0, 0, 0.0, -1),
        (99.0, 3, 0.0, -1),
        (99.0, 0, 0.51, -1),
    ],
)
def test_difficulty_has_kittis_limits(tmp_path, height, occluded, truncated, difficulty):
    """Least heights 40, 25 and 25 pixels, occlusion to 0, 1 and 2, truncation to 0.15, 0.3, 0.5."""
    label = Label(
        'Car', truncated, occluded, 0.1, (10, 20, 30, 20 + height), (1.5, 1.6, 3.9), (1, 2, 9), 0.2
    )
    (tmp_path / 'label.txt').write_text(label.line() + '\n')
    (read_back,) = read_labels(tmp_path / 'label.txt')
    assert read_back == label
    assert label.difficulty == difficulty
