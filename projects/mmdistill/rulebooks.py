"""Rulebooks: which sites of a sparse convolution feel which, found once for all models."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from mmdistill.memo import Memo

_FINDERS = ('get_indice_pairs', 'get_indice_pairs_implicit_gemm')
_NO_INPUTS = ('alloc', 'timer')


@contextmanager
def shared_rulebooks() -> Iterator[None]:
    """Let spconv find a rulebook once for the same sites and the same geometry, in this block.

    A rulebook depends on the active sites and on the convolution's kernel, stride, padding and
    dilation, not on its weights, widths or numbers. A teacher and a student that are given one
    tensor of voxels find the same ones, layer by layer, as far as their encoders agree: the sites
    that a shared rulebook leads to are one tensor again. Sites that are equal and not the very same
    tensor are not shared, nor are those of voxels in another order (:class:`~mmdistill.memo.Memo`).

    Each model's sparse tensors keep an ``indice_dict`` of their own. Passes behind the block, such
    as those of gradient checkpoints, find theirs again. Where spconv is not imported, nothing is
    done.
    """
    ops = sys.modules.get('spconv.pytorch.ops')
    own = {name: vars(ops)[name] for name in _FINDERS if name in vars(ops)} if ops else {}
    once = Memo()
    try:
        for name, find in own.items():
            setattr(ops, name, _finding_once(find, once))
        yield
    finally:
        for name, find in own.items():
            setattr(ops, name, find)


def _finding_once(find: Callable[..., tuple], once: Memo) -> Callable[..., tuple]:
    @wraps(find)
    def shared(indices: Any, *args: Any, **kwargs: Any) -> tuple:
        def make() -> tuple:
            sites, *rest = find(indices, *args, **kwargs)
            # A submanifold convolution returns a view of the sites that it was given.
            is_same = sites.data_ptr() == indices.data_ptr() and sites.shape == indices.shape
            return (indices if is_same else sites, *rest)

        geometry = tuple((key, kwargs[key]) for key in sorted(kwargs) if key not in _NO_INPUTS)
        return once.get((find, indices, args, geometry), make)

    return shared
