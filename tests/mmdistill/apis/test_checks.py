"""Start-up checks name what is missing and the command that makes it."""

import pickle

import pytest

from mmdistill.apis import check_checkpoint, check_config, check_data, check_teachers


def loader(data_root, ann_file='nuscenes_infos_train.pkl', wrapper=None):
    dataset = {'type': 'NuScenesDataset', 'data_root': data_root, 'ann_file': ann_file}
    if wrapper is not None:
        dataset = {'type': wrapper, 'dataset': dataset}
    return {'train_dataloader': {'dataset': dataset}}


def test_missing_lidarsim_says_how_to_generate_it():
    with pytest.raises(FileNotFoundError, match=r'create_lidarsim\.py --out data/absent_lidarsim'):
        check_data(loader('data/absent_lidarsim'), ['train_dataloader'])


@pytest.mark.parametrize('wrapper', [None, 'CBGSDataset', 'RepeatDataset'])
def test_missing_nuscenes_says_how_to_prepare_it_and_how_to_do_without(tmp_path, wrapper):
    root = f'{tmp_path}/nuscenes/'
    with pytest.raises(FileNotFoundError) as error:
        check_data(loader(root, wrapper=wrapper), ['train_dataloader'])
    message = str(error.value)
    assert f'{root}nuscenes_infos_train.pkl' in message
    assert 'create_data.py nuscenes --root-path' in message
    assert 'configs/distill/bevfusion_crd_mini.py' in message


def test_every_part_of_a_concatenation_is_checked(tmp_path):
    (tmp_path / 'there.pkl').touch()
    parts = [{'data_root': str(tmp_path), 'ann_file': name} for name in ('there.pkl', 'gone.pkl')]
    cfg = {'train_dataloader': {'dataset': {'type': 'ConcatDataset', 'datasets': parts}}}
    with pytest.raises(FileNotFoundError, match=r'gone\.pkl') as error:
        check_data(cfg, ['train_dataloader'])
    assert 'there.pkl' not in str(error.value)


def test_missing_kitti_says_how_to_prepare_it_and_how_to_do_without():
    dataset = dict(type='KittiDataset', data_root='absent/kitti/', ann_file='kitti_infos_val.pkl')
    with pytest.raises(FileNotFoundError) as error:
        check_data(dict(val_dataloader=dict(dataset=dataset)), ['val_dataloader'])
    assert 'create_data.py kitti --root-path absent/kitti\n' in str(error.value)
    assert 'create_lidarsim.py --out data/lidarsim_kitti' in str(error.value)


def test_a_missing_object_database_is_found(tmp_path):
    (tmp_path / 'infos.pkl').touch()
    cfg = loader(str(tmp_path), 'infos.pkl')
    sampler = {'info_path': f'{tmp_path}/dbinfos.pkl'}
    transform = {'type': 'ObjectSample', 'db_sampler': sampler}
    cfg['train_dataloader']['dataset']['pipeline'] = [{'type': 'LoadPointsFromFile'}, transform]
    with pytest.raises(FileNotFoundError, match=r'dbinfos\.pkl'):
        check_data(cfg, ['train_dataloader'])


def test_loaders_that_are_there_absent_or_without_files_pass(tmp_path):
    (tmp_path / 'infos.pkl').touch()
    cfg = {**loader(str(tmp_path), 'infos.pkl'), 'val_dataloader': None}
    cfg['test_dataloader'] = {'dataset': {'type': 'Generated'}}
    check_data(cfg, ['train_dataloader', 'val_dataloader', 'test_dataloader', 'other'])


def test_a_half_written_lidarsim_is_not_trained_on(tmp_path):
    root = tmp_path / 'lidarsim'
    root.mkdir()
    (root / 'nuscenes_infos_train.pkl').touch()
    with pytest.raises(FileNotFoundError, match=r'create_lidarsim\.py'):
        check_data(loader(str(root)), ['train_dataloader'])


def test_a_missing_teacher_names_the_command_that_trains_it():
    teacher = {'config': 'configs/teacher.py', 'checkpoint': 'runs/t/epoch_1.pth'}
    with pytest.raises(FileNotFoundError) as error:
        check_teachers({'model': {'teacher': teacher}})
    assert 'tools/train.py configs/teacher.py --work-dir runs/t' in str(error.value)


def test_a_teacher_file_that_training_would_name_otherwise_is_to_be_named():
    teacher = {'config': 'configs/teacher.py', 'checkpoint': 'checkpoints/teacher.pth'}
    with pytest.raises(FileNotFoundError, match='and name the checkpoint that it writes'):
        check_teachers({'model': {'teacher': teacher}})


def test_a_teacher_may_be_named_by_its_run(tmp_path):
    teacher = {'config': 'configs/teacher.py', 'checkpoint': str(tmp_path / 'best')}
    with pytest.raises(FileNotFoundError, match=rf'train.py configs/teacher.py .*{tmp_path.name}'):
        check_teachers({'model': {'teacher': teacher}})
    (tmp_path / 'best_top1_epoch_7.pth').touch()
    check_teachers({'model': {'teacher': teacher}})


def test_one_missing_teacher_of_several_is_found(tmp_path):
    there = tmp_path / 'there.pth'
    there.touch()
    teachers = {'a': {'checkpoint': str(there)}, 'b': {'config': {}, 'checkpoint': 'gone.pth'}}
    with pytest.raises(FileNotFoundError, match=r'gone\.pth(.|\n)*model\.teachers\.b\.checkpoint='):
        check_teachers({'model': {'teachers': teachers}})


def test_urls_and_models_without_teacher_pass():
    check_teachers({'model': {'teacher': {'checkpoint': 'https://host/t.pth'}}})
    check_teachers({'model': {'type': 'BEVFusion'}})
    check_checkpoint('s3://bucket/model.pth')


def test_a_missing_checkpoint_shows_its_neighbours(tmp_path):
    (tmp_path / 'epoch_3.pth').touch()
    with pytest.raises(FileNotFoundError, match=r'epoch_3\.pth'):
        check_checkpoint(str(tmp_path / 'epoch_4.pth'))


def test_a_missing_config_shows_similar_ones_or_the_folder_to_run_from(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r'Similar: .*configs/distill/bevfusion_crd\.py'):
        check_config('configs/bevfusion_crd.py')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match='It does below .*: run from there'):
        check_config('configs/distill/bevfusion_crd.py')


@pytest.mark.parametrize(
    ('content', 'found'),
    [
        ([dict(image=1)], 'a list'),
        (dict(infos=[dict(token='a')], metadata=dict(version='v1.0-mini')), "with 'infos'"),
        (dict(metadata=dict(version='v1.0-mini'), infos=[]), "with 'metadata'"),
    ],
)
@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_info_files_of_the_old_format_are_named_with_the_command_that_converts_them(
    tmp_path, content, found, protocol
):
    (tmp_path / 'infos.pkl').write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(ValueError, match=rf'infos\.pkl holds .*{found}.*update_infos_to_v2\.py'):
        check_data(loader(str(tmp_path), 'infos.pkl'), ['train_dataloader'])


@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_info_files_of_todays_format_pass(tmp_path, protocol):
    for content in (dict(metainfo=dict(), data_list=[]), dict(data_list=[], metainfo=dict())):
        (tmp_path / 'infos.pkl').write_bytes(pickle.dumps(content, protocol))
        check_data(loader(str(tmp_path), 'infos.pkl'), ['train_dataloader'])
