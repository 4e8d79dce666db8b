"""What relational losses relate: scenes, cells of a grid, drawn positions."""

import pytest
import torch

from mmdistill.losses import RKDLoss
from mmdistill.losses.items import take_items


@pytest.fixture
def maps():
    torch.manual_seed(0)
    return torch.randn(2, 3, 6, 9), torch.randn(2, 5, 6, 9)


def test_scenes_of_a_batch_are_one_group(maps):
    items = take_items(*maps, 'scene')
    torch.testing.assert_close(items.student, maps[0].mean((2, 3))[None])
    torch.testing.assert_close(items.teacher, maps[1].mean((2, 3))[None])
    assert torch.equal(items.weight, torch.ones(1, 2))


@pytest.mark.parametrize('masked', [False, True])
def test_cells_are_weighted_means_and_count_by_their_mean_weight(maps, masked):
    mask = torch.rand(2, 1, 6, 9) if masked else torch.ones(2, 1, 6, 9)
    mask[1, :, :3, :3] = 1 - masked
    items = take_items(*maps, (2, 3), mask if masked else None)
    assert items.student.shape == (2, 6, 3) and items.teacher.shape == (2, 6, 5)
    for scene in range(2):
        for row in range(2):
            for column in range(3):
                where = (scene, slice(None), slice(3 * row, 3 * row + 3))
                where = (*where, slice(3 * column, 3 * column + 3))
                weight = mask[where]
                expected = (maps[0][where] * weight).sum((1, 2)) / weight.sum().clamp(min=1e-9)
                index = (scene, 3 * row + column)
                torch.testing.assert_close(items.student[index], expected)
                torch.testing.assert_close(items.weight[index], weight.mean())


def test_drawn_positions_are_distinct_and_the_same_in_both_models(maps):
    number = torch.arange(54.0).view(1, 1, 6, 9).expand(2, 1, 6, 9)
    items = take_items(number, torch.cat([number, -number], 1), 20)
    assert torch.equal(items.teacher, torch.cat([items.student, -items.student], 2))
    assert all(len(scene.unique()) == 20 for scene in items.student)
    assert not torch.equal(items.student[0], items.student[1])


def test_positions_without_weight_are_drawn_last_and_never_count(maps):
    number = torch.arange(54.0).view(1, 1, 6, 9)
    mask = torch.zeros(1, 1, 6, 9)
    mask[..., 2, 3:6] = torch.tensor([0.1, 1.0, 9.0])
    items = take_items(number, number, 5, mask)
    assert set(items.student[0, :3, 0].tolist()) == {21, 22, 23}
    assert items.weight.tolist() == [[1, 1, 1, 0, 0]]
    assert take_items(number, number, 99, mask).weight.shape == (1, 54)


def test_positions_are_drawn_in_proportion_to_the_mask():
    torch.manual_seed(0)
    number = torch.arange(4.0).view(1, 1, 2, 2).expand(4000, 1, 2, 2)
    mask = torch.tensor([1.0, 2.0, 0.0, 5.0]).view(1, 1, 2, 2).expand(4000, 1, 2, 2)
    drawn = take_items(number, number, 1, mask).student.flatten().long()
    share = drawn.bincount(minlength=4) / 4000
    torch.testing.assert_close(share, torch.tensor([1, 2, 0, 5]) / 8, rtol=0, atol=0.03)


def test_matrices_are_items_as_they_are():
    student, teacher = torch.randn(4, 3), torch.randn(4, 5)
    items = take_items(student, teacher, (8, 8))
    assert torch.equal(items.student[0], student) and torch.equal(items.teacher[0], teacher)


def test_what_cannot_be_related_is_refused(maps):
    with pytest.raises(ValueError, match=r'got a tuple of 2'):
        take_items(maps, maps[1], 'scene')
    with pytest.raises(ValueError, match=r'same batch, height and width'):
        take_items(maps[0][..., :4], maps[1], 'scene')
    with pytest.raises(ValueError, match=r'need the same items'):
        take_items(torch.ones(2, 3), torch.ones(3, 3), 'scene')
    with pytest.raises(ValueError, match=r"remove the link's mask"):
        take_items(torch.ones(2, 3), torch.ones(2, 3), 'scene', torch.ones(2, 1, 1, 1))
    with pytest.raises(ValueError, match=r'the mask is \(2, 1, 6, 8\)'):
        take_items(*maps, 'scene', torch.ones(2, 1, 6, 8))


@pytest.mark.parametrize(
    ('size', 'items'), [((1, 1), (8, 8)), ((6, 9), (8, 8)), ((6, 9), (2, 10)), ((1, 1), 5)]
)
def test_items_that_share_a_position_are_refused(size, items):
    """A map of one cell cut into 8 x 8 is 64 times the same item, and any two models agree."""
    maps = torch.randn(2, 3, *size), torch.randn(2, 5, *size)
    with pytest.raises(ValueError, match=rf'maps of \({size[0]}, {size[1]}\).*at most .*scene'):
        RKDLoss(items=items)(*maps)
    assert RKDLoss(items='scene', distance_weight=1)(*maps).isfinite()
