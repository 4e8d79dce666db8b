"""What a step computes once for the very same arguments, and what never."""

import torch

from mmdistill.memo import Memo, directly


def test_the_very_same_arguments_are_computed_once():
    once, x = Memo(), torch.ones(3)
    first = once(torch.mul, x, 2)
    assert once(torch.mul, x, 2) is first and directly(torch.mul, x, 2) is not first
    assert once(torch.stack, [x, x], 0) is once(torch.stack, [x, x], 0)
    for other in ((torch.mul, x, 3), (torch.mul, x.clone(), 2), (torch.add, x, 2)):
        assert once(*other) is not first
        torch.testing.assert_close(once(*other), other[0](*other[1:]))


def test_what_somebody_wrote_to_is_computed_again():
    once, x = Memo(), torch.ones(3)
    once(torch.mul, x, 2)
    x += 1
    assert once(torch.mul, x, 2).tolist() == [4, 4, 4]
    once(torch.mul, x, 2).zero_()
    assert once(torch.mul, x, 2).tolist() == [4, 4, 4]


def test_a_freed_tensor_is_never_taken_for_a_new_one():
    once = Memo()
    for number in range(20):
        assert once(torch.mul, torch.full((3,), float(number)), 2)[0] == 2 * number


def test_gradients_and_inference_tensors_are_not_shared():
    once, x = Memo(), torch.ones(3, requires_grad=True)
    with torch.no_grad():
        once(torch.mul, x, 2)
    once(torch.mul, x, 2).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]
    with torch.inference_mode():
        made = once(torch.zeros, (3,))
        assert once(torch.mul, torch.ones(3), 2).tolist() == [2, 2, 2]
    assert made.is_inference() and not once(torch.zeros, (3,)).is_inference()
