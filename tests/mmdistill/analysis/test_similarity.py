"""Linear CKA is its formula, whatever the batches."""

import pytest
import torch

from mmdistill.analysis.similarity import LinearCKA


def plain(one, other):
    """The published formula over centred features."""
    one, other = one - one.mean(0), other - other.mean(0)
    cross = (other.T @ one).norm() ** 2
    return (cross / ((one.T @ one).norm() * (other.T @ other).norm())).item()


def test_batches_add_up_to_the_published_formula():
    torch.manual_seed(0)
    one = torch.randn(50, 6, dtype=torch.float64) + 3
    other = one @ torch.randn(6, 9, dtype=torch.float64) + torch.randn(50, 9, dtype=torch.float64)
    similarity = LinearCKA()
    for part in (slice(0, 7), slice(7, 50)):
        similarity.add(one[part], other[part])
    assert similarity.value() == pytest.approx(plain(one, other), abs=1e-12)
    assert 0.1 < similarity.value() < 0.99


def test_rotations_and_scales_are_alike_and_what_is_constant_is_refused():
    torch.manual_seed(0)
    one = torch.randn(40, 5)
    rotation = torch.linalg.qr(torch.randn(5, 5))[0]
    similarity = LinearCKA()
    similarity.add(one, 4 * one @ rotation + 1)
    assert similarity.value() == pytest.approx(1, abs=1e-6)
    constant = LinearCKA()
    with pytest.raises(ValueError, match='no places'):
        constant.value()
    constant.add(one, torch.ones(40, 2))
    with pytest.raises(ValueError, match='same at all places'):
        constant.value()
    with pytest.raises(ValueError, match=r'not \(40, 5\) with \(39, 5\)'):
        similarity.add(one, one[1:])
