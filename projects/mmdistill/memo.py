"""Memo: what functions returned for the very same arguments, for as long as a step takes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor


class Memo:
    """Calls a function once for the very same arguments, and returns that result again.

    Tensors are the same if they are one object that nobody wrote to in between; lists and tuples
    if their items are; everything else if it is equal. Equal numbers in another tensor do not
    count, so nothing is shared by chance and no tensor is read. A result that somebody wrote to is
    computed again, and so is what needs gradients or is an inference tensor.

    Example:
        >>> once, ones = Memo(), torch.ones(3)
        >>> once(torch.mul, ones, 2) is once(torch.mul, ones, 2)
        True
        >>> once(torch.mul, ones, 2) is once(torch.mul, ones.clone(), 2)
        False
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, _Known] = {}

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return ``function(*args)``; the function must depend on nothing else.

        Args:
            function: Any but a new one at each call, such as a lambda.
            *args: Tensors, hashable values, lists and tuples of both.
        """
        return self.get((function, *args), partial(function, *args))

    def get(self, key: tuple, make: Callable[[], Any]) -> Any:
        """Return what ``make`` returned for the same key.

        Args:
            key: Everything on which the result depends, as the arguments above.
            make: Computes it.
        """
        tensors = list(_tensors(key))
        if not all(map(_is_fixed, tensors)):
            return make()
        name = _name(key)
        known = self._known.get(name)
        if known is None or known.versions != _versions(known.result):
            result = make()
            if not all(map(_is_fixed, _tensors(result))):
                return result
            # The key's tensors are held, so that no other object gets the id of one of them.
            known = self._known[name] = _Known(tensors, result, _versions(result))
        return known.result


def directly(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function: what takes the place of a :class:`Memo` outside of a step."""
    return function(*args)


class _Known(NamedTuple):
    tensors: list[Tensor]
    result: Any
    versions: list[int]


def _is_fixed(tensor: Tensor) -> bool:
    """Whether a tensor is a constant of which writes are counted."""
    return not tensor.is_inference() and not tensor.requires_grad


def _name(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return 'tensor', id(value), value._version
    if isinstance(value, (list, tuple)):
        return type(value), *map(_name, value)
    return value


def _versions(value: Any) -> list[int]:
    return [tensor._version for tensor in _tensors(value)]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
