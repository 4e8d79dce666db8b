"""Data sets in real layouts: what they list, and how they say what is wrong."""

import csv

import pytest
from mmengine.registry import DATASETS

from videocls import VideoError

ACTIONS = ('walk', 'run', 'jump', 'wave', 'clap', 'box', 'bow', 'kick', 'jumping_jack', 'squat')
ACTIONS += ('sit_down', 'stand_up')
PIPELINE = [
    dict(type='OpenVideo'),
    dict(type='SampleFrames', num_frames=4),
    dict(type='DecodeVideo'),
    dict(type='PackClip'),
]


def build(kind='UCF101Dataset', **options):
    return DATASETS.build(dict(type=kind, pipeline=PIPELINE, **options))


def ucf101_split(root, name, **options):
    return build(data_root=str(root), ann_file=f'ucfTrainTestlist/{name}list01.txt', **options)


def test_ucf101_gives_clips_labels_and_indices(ucf101):
    train, test = ucf101_split(ucf101, 'train'), ucf101_split(ucf101, 'test', test_mode=True)
    assert (len(train), len(test)) == (24, 12)
    assert train.metainfo['classes'] == ACTIONS
    packed = train[3]
    assert packed['inputs'].shape == (4, 3, 32, 32)
    sample = packed['data_samples']
    assert (sample.label, sample.sample_idx) == (1, 3)
    assert '/run/v_run_g' in sample.path
    assert [test[i]['data_samples'].label for i in range(12)] == list(range(12))


def test_classes_of_the_config_must_be_those_of_the_files(ucf101):
    assert len(ucf101_split(ucf101, 'train', classes=ACTIONS)) == 24
    with pytest.raises(ValueError, match=r"paste classes=\['walk', 'run', .*'stand_up'\]"):
        ucf101_split(ucf101, 'train', classes=ACTIONS[::-1])


def test_a_wrong_line_of_a_list_is_named(ucf101, tmp_path):
    for line in ('swim/v_swim_g01_c01.mp4 1', 'walk/v_walk_g02_c01.mp4 2'):
        bad = tmp_path / 'bad.txt'
        bad.write_text(f'run/v_run_g02_c01.mp4 2\n\n{line}\n')
        with pytest.raises(
            ValueError, match=r'bad.txt, line 3: .*does not agree with the 12 class'
        ):
            build(data_root=str(ucf101), ann_file=str(bad))


def test_kinetics_reads_its_table(tmp_path, numbered):
    rows = [('riding a bike', 'abcdefghi-1', 10, 20), ('archery', 'abcdefghi_2', 0, 10)]
    for label, video, begin, end in rows:
        (tmp_path / 'train' / label).mkdir(parents=True)
        numbered(f'train/{label}/{video}_{begin:06d}_{end:06d}.mp4')
    with (tmp_path / 'train.csv').open('w', newline='') as file:
        table = csv.writer(file)
        table.writerow(['label', 'youtube_id', 'time_start', 'time_end', 'split'])
        table.writerows([*row, 'train'] for row in rows)
    options = dict(data_root=str(tmp_path), ann_file='train.csv', data_prefix=dict(video='train'))
    found = build('KineticsDataset', **options)
    assert found.metainfo['classes'] == ('archery', 'riding a bike')
    assert [found[i]['data_samples'].label for i in range(2)] == [1, 0]
    with pytest.raises(ValueError, match=r"labels \['archery'\], which classes does not name"):
        build('KineticsDataset', classes=['riding a bike'], **options)

    fewer = (tmp_path / 'train.csv').read_text().replace('archery,', 'riding a bike,')
    (tmp_path / 'val.csv').write_text(fewer)  # a split without one of the classes
    numbered('train/riding a bike/abcdefghi_2_000000_000010.mp4')
    val = build('KineticsDataset', **{**options, 'ann_file': 'val.csv'})
    assert val.metainfo['classes'] == found.metainfo['classes']
    assert [val[i]['data_samples'].label for i in range(2)] == [1, 1]
    with pytest.raises(ValueError, match=r"\['archery'\], which .*val.csv does not name"):
        build('KineticsDataset', class_table='val.csv', **options)
    with pytest.raises(ValueError, match='gone.csv does not exist, whose labels are the classes'):
        build('KineticsDataset', class_table='gone.csv', **options)
    (tmp_path / 'train.csv').write_text('label,id\n')
    with pytest.raises(ValueError, match=r"no columns \['youtube_id', 'time_start', 'time_end'\]"):
        build('KineticsDataset', **options)


def test_a_plain_list_has_paths_with_spaces_and_labels(tmp_path, numbered):
    numbered('my clip.mp4')
    (tmp_path / 'list.txt').write_text('my clip.mp4 1\n')
    options = dict(data_root=str(tmp_path), ann_file='list.txt')
    found = build('VideoListDataset', classes=['a', 'b'], **options)
    assert found[0]['data_samples'].label == 1
    with pytest.raises(ValueError, match=r'list.txt, line 1: .*a label from 0 to 0'):
        build('VideoListDataset', classes=['a'], **options)
    with pytest.raises(ValueError, match='needs classes='):
        build('VideoListDataset', **options)


def test_a_broken_video_is_an_error_with_its_path(ucf101, tmp_path, numbered):
    folder = broken_copy(tmp_path, numbered)
    dataset = build('VideoListDataset', classes=['a', 'b'], **folder)
    assert len(dataset) == 4
    with pytest.raises(VideoError, match=r'cut.mp4 .* cannot be opened'):
        dataset[1]


def test_or_left_out_and_counted_if_asked_for(tmp_path, numbered):
    folder = broken_copy(tmp_path, numbered)
    dataset = build('VideoListDataset', classes=['a', 'b'], skip_broken=True, **folder)
    assert len(dataset) == 2 and dataset.metainfo['num_broken'] == 2
    assert [dataset[i]['data_samples'].path.rsplit('/')[-1] for i in range(2)] == ['a.mp4', 'b.mp4']
    (tmp_path / 'list.txt').write_text('gone.mp4 0\n')
    with pytest.raises(VideoError, match='none of 1 videos can be read; the first: no video at'):
        build('VideoListDataset', classes=['a', 'b'], skip_broken=True, **folder)


def broken_copy(folder, numbered):
    """A list of a whole video, a truncated one, a missing one and a whole one."""
    whole = numbered('a.mp4').read_bytes()
    numbered('b.mp4')
    (folder / 'cut.mp4').write_bytes(whole[: len(whole) // 2])
    (folder / 'list.txt').write_text('a.mp4 0\ncut.mp4 1\ngone.mp4 0\nb.mp4 1\n')
    return dict(data_root=str(folder), ann_file='list.txt')


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no list .*train.txt'):
        build('VideoListDataset', classes=['a'], data_root=str(tmp_path), ann_file='train.txt')
