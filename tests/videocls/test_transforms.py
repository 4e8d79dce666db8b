"""From files to clips: which frames, and that all frames are changed alike."""

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS


def build(kind, **options):
    return TRANSFORMS.build(dict(type=kind, **options))


def indices(num_frames, length, random=False):
    sample = build('SampleFrames', num_frames=num_frames, random=random)
    return sample(dict(num_frames=length))['frame_indices']


def test_the_middle_of_each_part_is_taken():
    assert indices(4, 40).tolist() == [5, 15, 25, 35]
    assert indices(1, 9).tolist() == [4]


def test_a_short_video_gives_frames_twice():
    assert indices(8, 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert indices(8, 1).tolist() == [0] * 8


def test_random_frames_lie_one_in_each_part_and_reach_all_of_it():
    np.random.seed(0)
    drawn = np.array([indices(4, 40, random=True) for _ in range(400)])
    assert (drawn // 10 == np.arange(4)).all()
    assert (np.sort(np.unique(drawn)) == np.arange(40)).all()


@pytest.mark.parametrize(
    'transform',
    [
        dict(type='RandomResizedCropClip', size=24, area=(0.3, 1.0)),
        dict(type='FlipClip', prob=1.0),
        dict(type='ColorJitterClip', brightness=0.3, contrast=0.5, color=0.3),
        dict(type='ResizeClip', short_side=20),
        dict(type='CenterCropClip', size=20),
    ],
)
def test_all_frames_of_a_clip_are_changed_alike(transform):
    np.random.seed(1)
    image = np.random.randint(0, 256, (32, 40, 3), np.uint8)
    frames = TRANSFORMS.build(transform)(dict(frames=np.stack([image] * 5)))['frames']
    assert frames.dtype == np.uint8
    assert (frames == frames[0]).all()
    before, after = image, frames[0]
    assert before.shape != after.shape or (before != after).any()


def test_flipping_mirrors_left_and_right():
    frames = np.random.randint(0, 256, (2, 4, 6, 3), np.uint8)
    flipped = build('FlipClip', prob=1.0)(dict(frames=frames.copy()))['frames']
    assert (flipped == frames[:, :, ::-1]).all()
    assert (build('FlipClip', prob=0.0)(dict(frames=frames))['frames'] == frames).all()


def test_sizes_are_those_asked_for():
    frames = np.zeros((3, 60, 80, 3), np.uint8)
    assert build('ResizeClip', short_side=30)(dict(frames=frames))['frames'].shape == (3, 30, 40, 3)
    cropped = build('CenterCropClip', size=50)(dict(frames=frames))['frames']
    assert cropped.shape == (3, 50, 50, 3)
    with pytest.raises(ValueError, match='60 x 80 pixels have no square of 64: resize first'):
        build('CenterCropClip', size=64)(dict(frames=frames))


def test_a_kept_video_is_read_once_and_gives_the_same_frames(numbered):
    path = str(numbered('a.mp4'))
    plain, kept = build('OpenVideo'), build('OpenVideo', cache=True)
    decode = build('DecodeVideo')

    def frames(opener):
        results = opener(dict(path=path))
        return decode({**results, 'frame_indices': np.array([7, 2])})['frames']

    expected = frames(plain)
    assert (frames(kept) == expected).all()
    numbered('a.mp4', length=3)  # the file changes; what is kept does not
    assert (frames(kept) == expected).all()
    small = build('OpenVideo', cache=True, short_side=16)
    assert small(dict(path=path))['video'].read(np.array([0])).shape == (1, 16, 16, 3)
