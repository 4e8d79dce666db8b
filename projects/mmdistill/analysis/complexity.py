"""Count the parameters and the multiply-accumulates (MACs) of one forward pass, sparse ones too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass
class Complexity:
    """What one forward pass costs.

    Args:
        params (int): number of parameters, each counted once.
        dense_macs (int): MACs of convolutions, linear layers, matrix products and attention.
        sparse_macs (int): MACs of spconv's layers on the given input: the pairs of its rulebooks
            times input and output channels.
        macs_by_child (dict[str, int]): both kinds together, for each direct child of the model.
    """

    params: int
    dense_macs: int
    sparse_macs: int
    macs_by_child: dict[str, int] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """All MACs."""
        return self.dense_macs + self.sparse_macs


def count(model: nn.Module, *inputs: Any, call: Callable[..., Any] | None = None) -> Complexity:
    """Count one forward pass of a model.

    Dense operators are counted where torch dispatches them, so a product written without a module
    counts as well. Element-wise work (norms, activations, pooling) is left out, as usual.

    Args:
        model (nn.Module): any model; it is run in eval mode and put back as it was.
        *inputs: what is handed to ``call``.
        call (Callable, optional): what to run instead of ``model(*inputs)``, for example
            ``model.test_step``.

    Returns:
        Complexity: the counts.
    """
    was_training = model.training
    model.eval()
    counter = FlopCounterMode(display=False)
    children = {child: name for name, child in model.named_children()}
    by_child = dict.fromkeys(children.values(), 0)
    sparse = _SparseCounter(model, counter)
    stack: list[int] = []

    def enter(module: nn.Module, args: Any) -> None:
        stack.append(_macs(counter, sparse))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        by_child[children[module]] += _macs(counter, sparse) - stack.pop()

    with contextlib.ExitStack() as hooks:
        # Sparse hooks first: a child that is a sparse layer has been counted when it leaves.
        hooks.enter_context(sparse)
        for child in children:
            hooks.callback(child.register_forward_pre_hook(enter).remove)
            hooks.callback(child.register_forward_hook(leave).remove)
        hooks.callback(model.train, was_training)
        with torch.no_grad(), _countable_attention(), counter:
            (call or model)(*inputs)
    return Complexity(
        params=sum(parameter.numel() for parameter in model.parameters()),
        dense_macs=_dense_macs(counter, sparse),
        sparse_macs=sparse.macs,
        macs_by_child=by_child,
    )


class _SparseCounter:
    """Counts spconv's layers by their rulebooks, and what they run densely inside, to take it off.

    A layer without an ``indice_key`` throws its rulebook away; while counting, it is given a key
    of its own.
    """

    def __init__(self, model: nn.Module, counter: FlopCounterMode) -> None:
        self.macs = 0
        self.dense_inside = 0
        self._counter = counter
        self._layers = [module for module in model.modules() if _is_sparse_conv(module)]
        self._keyless: list[nn.Module] = []
        self._hooks: list[Any] = []
        self._before = 0

    def __enter__(self) -> _SparseCounter:
        for number, layer in enumerate(self._layers):
            if layer.indice_key is None:
                layer.indice_key = f'counted_{number}'
                self._keyless.append(layer)
            self._hooks.append(layer.register_forward_pre_hook(self._enter))
            self._hooks.append(layer.register_forward_hook(self._leave))
        return self

    def __exit__(self, *exc: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        for layer in self._keyless:
            layer.indice_key = None

    def _enter(self, layer: nn.Module, args: Any) -> None:
        self._before = self._counter.get_total_flops()

    def _leave(self, layer: nn.Module, args: Any, output: Any) -> None:
        self.dense_inside += self._counter.get_total_flops() - self._before
        self.macs += _pairs(layer, output) * layer.in_channels * layer.out_channels
        if layer in self._keyless:  # called twice, it makes a rulebook twice
            output.indice_dict.pop(layer.indice_key, None)


def _is_sparse_conv(module: nn.Module) -> bool:
    names = {base.__name__ for base in type(module).__mro__}
    return 'SparseConvolution' in names and hasattr(module, 'indice_key')


def _pairs(layer: nn.Module, output: Any) -> int:
    """Number of (input voxel, output voxel, kernel cell) triples that a sparse layer computes."""
    if layer.conv1x1:
        return output.features.shape[0]
    rulebook = output.indice_dict[layer.indice_key]
    if hasattr(rulebook, 'indice_pair_num'):  # spconv's Native algorithm
        pairs = rulebook.indice_pair_num
        if rulebook.is_subm:  # stored for the cells before the centre; the others mirror them
            return 2 * int(pairs[: len(pairs) // 2].sum()) + output.features.shape[0]
        return int(pairs.sum())
    return int((rulebook.pair_fwd >= 0).sum())


def _dense_macs(counter: FlopCounterMode, sparse: _SparseCounter) -> int:
    return (counter.get_total_flops() - sparse.dense_inside) // 2


def _macs(counter: FlopCounterMode, sparse: _SparseCounter) -> int:
    return _dense_macs(counter, sparse) + sparse.macs


@contextlib.contextmanager
def _countable_attention() -> Iterator[None]:
    """Run attention as plain matrix products: its fused kernels have no count on the CPU."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
