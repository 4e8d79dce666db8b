"""What a classifier can know of the files without motion, and with it."""

import cv2
import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from tests.videosim.conftest import SMALL
from videocls import VideoReader
from videosim import ACTIONS, ORDERED_PAIR
from videosim.layouts import list_items

FRAMES = 8


@pytest.fixture(scope='module')
def clips(dataset):
    """Grey frames ``(N, T, 16, 16)`` and labels of each split, out of the files."""
    found = {'train': ([], []), 'val': ([], []), 'test': ([], [])}
    for item in list_items(SMALL):
        reader = VideoReader(dataset / item.path)
        frames = reader.read(range(reader.num_frames))
        small = [cv2.resize(frame, (16, 16), interpolation=cv2.INTER_AREA) for frame in frames]
        found[item.split][0].append(np.stack(small).mean(-1))
        found[item.split][1].append(list(ACTIONS).index(item.action))
    return {split: (np.stack(x), np.array(y)) for split, (x, y) in found.items()}


def middle_frame(x):
    return x[:, x.shape[1] // 2]


def spread(x):
    """One frame of each of eight parts, as the models see."""
    return x[:, ((np.arange(FRAMES) + 0.5) * x.shape[1] / FRAMES).astype(int)]


def without_order(x):
    """Each pixel's values sorted over time: the order of frames is gone."""
    return np.sort(spread(x), axis=1)


def probe(clips, view, classes=None):
    """Test accuracy of trees on a view of the clips."""
    (x, y), (test_x, test_y) = clips['train'], clips['test']
    if classes is not None:
        kept, test_kept = np.isin(y, classes), np.isin(test_y, classes)
        x, y, test_x, test_y = x[kept], y[kept], test_x[test_kept], test_y[test_kept]
    trees = ExtraTreesClassifier(100, random_state=0)
    trees.fit(view(x).reshape(len(x), -1), y)
    return (trees.predict(view(test_x).reshape(len(test_x), -1)) == test_y).mean()


def test_one_frame_tells_little(clips):
    chance = 1 / len(ACTIONS)
    assert 2 * chance < probe(clips, middle_frame) <= 0.45


def test_all_frames_tell_much_more(clips):
    assert probe(clips, without_order) > 0.6


def test_sitting_down_and_standing_up_differ_by_their_order_alone(clips):
    pair = [list(ACTIONS).index(action) for action in ORDERED_PAIR]
    assert abs(probe(clips, without_order, pair) - 0.5) <= 0.2  # 40 clips: 2.5 sigma
    assert abs(probe(clips, middle_frame, pair) - 0.5) <= 0.2
    assert probe(clips, spread, pair) > 0.9
