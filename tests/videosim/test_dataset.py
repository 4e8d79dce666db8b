"""Clips and files: the same seed gives the same bytes, in the real layouts."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.videosim.conftest import SMALL
from videosim import ACTIONS, Parameters, generate_dataset, render_clip, verify_dataset
from videosim.layouts import list_items

TINY = Parameters(train_groups=2, val_groups=1, test_groups=1, clips=1, frames=8, size=32)


@pytest.mark.parametrize('action', ACTIONS)
def test_the_action_fills_a_third_of_the_clip_and_a_trimmed_clip_wholly(action):
    lengths, begins = [], []
    for number in range(30):
        clip = render_clip(action, (0, 1), number, frames=40, size=32)
        lengths.append(clip.end - clip.begin)
        begins.append(clip.begin)
    assert min(lengths) >= 11 and max(lengths) <= 19  # 30 to 45 % of 40, and its two ends
    assert max(begins) - min(begins) > 10
    trimmed = render_clip(action, (0, 1), 0, frames=16, size=32, trimmed=True)
    assert (trimmed.begin, trimmed.end) == (0, 16)


@pytest.mark.parametrize('action', ACTIONS)
def test_before_and_after_the_action_the_figure_is_still(action):
    clip = render_clip(action, (0, 2), 3, frames=64, size=64)
    moved = np.abs(np.diff(clip.frames.astype(int), axis=0)).mean((1, 2, 3))
    inside = np.zeros(63, bool)
    inside[max(clip.begin - 1, 0) : clip.end] = True
    assert moved[inside].mean() > moved[~inside].mean()


def test_a_group_looks_alike_and_another_does_not():
    def still(group, number):
        """The first frame's colours, blurred over the clip's pan and noise."""
        return render_clip('wave', group, number, size=64).frames.mean((0, 1, 2))

    own = np.abs(still((0, 1), 0) - still((0, 1), 1)).mean()
    others = [np.abs(still((0, 1), 0) - still((0, group), 0)).mean() for group in range(2, 12)]
    assert own < np.median(others)


def test_the_same_parameters_give_the_same_bytes_with_any_number_of_workers(tmp_path):
    digests = set()
    for workers in (1, 2):
        out = tmp_path / str(workers)
        assert generate_dataset(out, TINY, workers=workers)
        digests.add(verify_dataset(out, deep=True)['digest'])
    assert len(digests) == 1
    generate_dataset(tmp_path / 'other', replace(TINY, seed=1))
    assert verify_dataset(tmp_path / 'other')['digest'] not in digests


def test_ucf101s_files_and_lists(dataset):
    lists = dataset / 'ucfTrainTestlist'
    classes = (lists / 'classInd.txt').read_text().splitlines()
    assert classes == [f'{n} {name}' for n, name in enumerate(ACTIONS, 1)]
    train = (lists / 'trainlist01.txt').read_text().splitlines()
    test = (lists / 'testlist01.txt').read_text().splitlines()
    val = (lists / 'vallist01.txt').read_text().splitlines()
    assert (len(train), len(val), len(test)) == (480, 12, 240)
    assert (
        re.fullmatch(r'walk/v_walk_g22_c01.mp4 1', train[0])
        and test[0] == 'walk/v_walk_g01_c01.mp4'
    )
    names = [line.split()[0] for line in train + val + test]
    assert len(set(names)) == 732
    assert all((dataset / 'UCF-101' / name).is_file() for name in names)
    groups = [{re.search(r'_g(\d+)_', name)[1] for name in part} for part in (train, val, test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 61


def test_kinetics_files_and_tables(tmp_path):
    parameters = replace(TINY, layout='kinetics')
    generate_dataset(tmp_path / 'data', parameters)
    for split, count in (('train', 24), ('val', 12), ('test', 12)):
        with (tmp_path / 'data' / f'{split}.csv').open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == count
        for row in rows:
            assert len(row['youtube_id']) == 11
            name = (
                f'{row["youtube_id"]}_{int(row["time_start"]):06d}_{int(row["time_end"]):06d}.mp4'
            )
            assert (tmp_path / 'data' / 'videos' / split / row['label'] / name).is_file()


def test_no_figure_is_in_two_splits_or_layouts():
    seeds = [
        {item.group for item in list_items(replace(SMALL, layout=layout)) if item.split == split}
        for layout in ('ucf101', 'kinetics')
        for split in ('train', 'val', 'test')
    ]
    assert sum(map(len, seeds)) == len(set.union(*seeds))


def test_a_complete_data_set_is_left_alone_and_nothing_else_is_touched(tmp_path):
    out = tmp_path / 'data'
    assert generate_dataset(out, TINY)
    assert not generate_dataset(out, TINY)
    with pytest.raises(ValueError, match=r'frames is 8, asked for 9.*--force'):
        generate_dataset(out, replace(TINY, frames=9))
    next(out.rglob('*.mp4')).unlink()
    with pytest.raises(FileNotFoundError, match='incomplete: 51 files'):
        verify_dataset(out)
    assert generate_dataset(out, TINY)
    manifest = json.loads((out / 'videosim.json').read_text())
    (out / 'videosim.json').write_text(json.dumps({**manifest, 'format': 0}))
    with pytest.raises(ValueError, match='has format 0'):
        generate_dataset(out, TINY)
    foreign = tmp_path / 'mine'
    foreign.mkdir()
    (foreign / 'thesis.tex').touch()
    with pytest.raises(FileExistsError, match='not a videosim data set'):
        generate_dataset(foreign, TINY, force=True)
    assert not list(tmp_path.glob('.*'))
    assert Path(foreign / 'thesis.tex').exists()


def test_a_value_out_of_range_is_refused():
    with pytest.raises(ValueError, match='frames is 4, expected 8 to 1000'):
        Parameters(frames=4)
    with pytest.raises(ValueError, match="layout is one of .*'hmdb'"):
        Parameters(layout='hmdb')
