"""Reading frames: the right ones, of common files, and an error for broken ones."""

import base64
import shutil
import zlib

import numpy as np
import pytest

from tests.videocls.h264 import H264
from videocls import VideoError, VideoReader


@pytest.mark.parametrize(
    ('name', 'codec'), [('a.mp4', 'mp4v'), ('a.avi', 'MJPG'), ('b.avi', 'XVID')]
)
def test_the_frames_asked_for_come_in_that_order(numbered, name, codec):
    reader = VideoReader(numbered(name, codec=codec))
    assert reader.num_frames == 12
    frames = reader.read([11, 0, 5, 5])
    assert frames.shape == (4, 32, 32, 3) and frames.dtype == np.uint8
    np.testing.assert_allclose(frames.mean((1, 2, 3)), [110, 0, 50, 50], atol=5)


def test_h264_is_decoded(tmp_path):
    """OpenCV cannot write it, so the test holds a file."""
    path = tmp_path / 'h264.mp4'
    path.write_bytes(zlib.decompress(base64.b85decode(H264)))
    assert b'avc1' in path.read_bytes()
    frames = VideoReader(path).read(range(10))
    np.testing.assert_allclose(frames.mean((1, 2, 3)), 20 * np.arange(10), atol=4)


def test_a_truncated_file_is_refused_with_its_name(numbered, tmp_path):
    whole = numbered('whole.mp4').read_bytes()
    cut = tmp_path / 'cut.mp4'
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match=r'cut.mp4 \(\d+ bytes\) cannot be opened'):
        VideoReader(cut)


def test_a_file_that_ends_before_its_header_says_is_refused(numbered, tmp_path):
    """An avi has its header in front: what is missing shows when it is read."""
    whole = numbered('whole.avi', codec='MJPG', length=40, size=64).read_bytes()
    cut = tmp_path / 'cut.avi'
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match=r'cut.avi ends behind \d+ frames, its header says 40'):
        VideoReader(cut).read([39])


@pytest.mark.parametrize('content', [b'', b'no video at all' * 100])
def test_what_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / 'x.mp4'
    path.write_bytes(content)
    with pytest.raises(VideoError, match=r'x.mp4 .* cannot be opened'):
        VideoReader(path)


def test_what_is_not_there_is_told(tmp_path, numbered):
    with pytest.raises(VideoError, match='no video at .*gone.mp4'):
        VideoReader(tmp_path / 'gone.mp4')
    with pytest.raises(IndexError, match='has frames 0 to 11, asked for'):
        VideoReader(numbered('a.mp4')).read([12])


def test_a_reader_opens_its_file_anew_each_time(numbered, tmp_path):
    reader = VideoReader(numbered('a.mp4'))
    first = reader.read([3])
    assert np.array_equal(reader.read([3]), first)
    shutil.move(tmp_path / 'a.mp4', tmp_path / 'b.mp4')
    with pytest.raises(VideoError, match='no video at'):
        reader.read([3])
