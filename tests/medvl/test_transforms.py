import cv2
import numpy as np
import pytest
import torch

import medvl


@pytest.fixture
def image_file(tmp_path):
    path = tmp_path / 'red.png'
    image = np.zeros((30, 60, 3), np.uint8)
    image[..., 2] = 200  # OpenCV's last channel is red
    cv2.imwrite(str(path), image)
    return path


def test_images_are_rgb(image_file):
    image = medvl.LoadImage()(dict(img_path=str(image_file)))['image']
    assert image.shape == (30, 60, 3)
    assert (image[0, 0] == [200, 0, 0]).all()


def test_grey_images_get_three_equal_channels(tmp_path):
    cv2.imwrite(str(tmp_path / 'grey.png'), np.full((4, 4), 7, np.uint8))
    image = medvl.LoadImage()(dict(img_path=str(tmp_path / 'grey.png')))['image']
    assert image.shape == (4, 4, 3) and (image == 7).all()


@pytest.mark.parametrize('content', [b'', b'no image', None])
def test_a_broken_image_is_named(image_file, content):
    image_file.write_bytes(image_file.read_bytes()[:50] if content is None else content)
    with pytest.raises(ValueError, match=r'red\.png \(\d+ bytes\) is no image'):
        medvl.LoadImage()(dict(img_path=str(image_file)))


@pytest.mark.parametrize('shape', [(30, 60), (60, 30), (500, 100), (20, 20), (48, 48)])
def test_an_image_fits_into_the_square_and_keeps_its_shape(shape):
    image = np.full((*shape, 3), 100, np.uint8)
    square = medvl.FitSquare(48)(dict(image=image))['image']
    assert square.shape == (48, 48, 3)
    rows, columns = (int((square.max(axis) > 0).any(-1).sum()) for axis in (1, 0))
    assert max(rows, columns) == 48
    assert rows / columns == pytest.approx(shape[0] / shape[1], rel=0.06)


def test_shifts_follow_numpys_seed_and_can_be_nothing():
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    still = medvl.RandomShift(shift=0, scale=0, angle=0, brightness=0)
    assert (still(dict(image=image))['image'] == image).all()
    results = []
    for seed in (0, 0, 1):
        np.random.seed(seed)
        results.append(medvl.RandomShift()(dict(image=image))['image'])
    assert (results[0] == results[1]).all()
    assert (results[0] != results[2]).any()
    assert results[0].shape == image.shape


def test_a_packed_sample_has_raw_text_labels_and_its_index():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    sample = dict(image=image, text='a scan', modality_label=1, sample_idx=4, sample_id='x')
    packed = medvl.PackImageText()(sample)
    assert packed['inputs']['text'] == 'a scan'
    assert torch.equal(packed['inputs']['image'], torch.from_numpy(image).permute(2, 0, 1))
    assert packed['data_samples'].modality_label == 1
    assert packed['data_samples'].sample_idx == 4
