"""Forward-hook recorders: what the links read from a model while it runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmdistill.address import LayerAddress, find_module


class FeatureRecorder:
    """Records the values at layer addresses during one forward pass.

    Values live inside :meth:`record`, hooks only inside :meth:`Recording.listen`. So a model that
    is evaluated, copied (EMA), exported or visualised carries no hooks, and nothing is held once
    the block is left, also when it is left by an exception::

        recorder = FeatureRecorder(model, [address])
        with recorder.record() as recording:
            with recording.listen():
                model(inputs, data_samples, mode='loss')
            feature = recording[address]

    Args:
        model: The model to record.
        addresses: The layers; equal addresses are recorded once.
        role: How errors call the model, e.g. ``'student'``.
        needs_grad: Whether gradients must flow through what is recorded. A layer inside
            a re-entrant activation checkpoint runs without gradients at record time and is
            refused.
    """

    def __init__(
        self,
        model: nn.Module,
        addresses: Iterable[LayerAddress],
        role: str = 'model',
        needs_grad: bool = False,
    ) -> None:
        self.role = role
        self.needs_grad = needs_grad
        self.addresses = list(dict.fromkeys(addresses))
        self.modules = {a: find_module(model, a.module, role) for a in self.addresses}
        # Calls are counted in a first, complete pass; only then may a pass be cut short.
        self.calls_counted = False

    @contextmanager
    def record(self) -> Iterator[Recording]:
        """Yield an empty :class:`Recording`; what it holds is released when the block is left."""
        recording = Recording(self)
        try:
            yield recording
        finally:
            recording.clear()


class Recording:
    """The values of one forward pass, by address; see :class:`FeatureRecorder`."""

    def __init__(self, recorder: FeatureRecorder) -> None:
        self._recorder = recorder
        self.stops_early = False
        self.predictions: Any = None  # what the pass returned, where somebody asks for it
        self._values: dict[LayerAddress, list] = {a: [] for a in recorder.addresses}
        self._calls: dict[LayerAddress, int] = dict.fromkeys(recorder.addresses, 0)

    @contextmanager
    def listen(self, stop_early: bool = False) -> Iterator[None]:
        """Attach the hooks for the forward pass in this block.

        Args:
            stop_early: End the pass once every layer is recorded, by an exception that this block
                absorbs. The recorder's first pass always runs to its end, to count the calls, and
                so does a pass with ``call='all'``.
        """
        recorder = self._recorder
        self.stops_early = (
            stop_early
            and recorder.calls_counted
            and all(address.call != 'all' for address in recorder.addresses)
        )
        handles = []
        try:
            for address, module in recorder.modules.items():
                handles.append(_attach(self, address, module))
            yield
            recorder.calls_counted = True
        except _AllRecorded as signal:
            if signal.recording is not self:
                raise
        finally:
            for handle in handles:
                handle.remove()

    def __getitem__(self, address: LayerAddress) -> Any:
        """Return what was recorded.

        Raises:
            KeyError: The layer did not run, or ran more often than the address says.
            RuntimeError: The value was changed in place since it was recorded.
        """
        role, calls = self._recorder.role, self._calls[address]
        values = self._values[address]
        if not values:
            ran = f'ran {calls} time(s)' if calls else 'did not run'
            raise KeyError(
                f"the {role}'s layer {address} {ran} in this forward pass; link a layer that runs, "
                'or another call'
            )
        if address.call is None and calls > 1:
            raise KeyError(
                f"the {role}'s layer {address} ran {calls} times in one forward pass; choose one: "
                f"dict(layer='{address.module}...', call=0) or call='all' for the list"
            )
        for value, before in values:
            if not _unchanged(before, value):
                raise RuntimeError(
                    f"the {role}'s layer {address} was changed in place after it was recorded (an "
                    f'inplace ReLU or clip_sigmoid behind it?); record a copy with '
                    f"dict(layer='{address.module}...', clone=True), or link the layer behind it"
                )
        return [value for value, _ in values] if address.call == 'all' else values[0][0]

    def restore(self, values: dict[LayerAddress, Any]) -> None:
        """Take values that an earlier pass recorded at every address, in place of a pass."""
        for address, value in values.items():
            calls = value if address.call == 'all' else [value]
            self._calls[address] = len(calls)
            self._values[address] = [(v, [(t, t._version) for t in _tensors(v)]) for v in calls]

    def clear(self) -> None:
        self.predictions = None
        for values in self._values.values():
            values.clear()

    def store(self, address: LayerAddress, value: Any) -> None:
        """Keep a value if the address asks for this call; end the pass when all are there."""
        call = self._calls[address]
        self._calls[address] += 1
        if self._recorder.needs_grad and not torch.is_grad_enabled():
            raise RuntimeError(
                f"the {self._recorder.role}'s layer {address} runs without gradients, as under "
                'torch.no_grad() or inside a re-entrant activation checkpoint; for the latter use '
                'use_reentrant=False, or link a layer outside the checkpointed block'
            )
        if address.call in ('all', call) or (address.call is None and call == 0):
            value = address.select(value)
            if address.clone:
                value = _clone(value)
            self._values[address].append((value, [(t, t._version) for t in _tensors(value)]))
        if self.stops_early and all(self._values.values()):
            raise _AllRecorded(self)


class _AllRecorded(Exception):
    """Ends a forward pass whose remaining layers nobody reads."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording


def _attach(recording: Recording, address: LayerAddress, module: nn.Module):
    if address.source == 'output':

        def after(_module, _args, output) -> None:
            recording.store(address, output)

        return module.register_forward_hook(after)

    signature = inspect.signature(module.forward)

    def before(_module, args, kwargs) -> None:
        first = address.selectors[0]
        if isinstance(first, int):
            recording.store(address, args)
        else:
            recording.store(address, signature.bind(*args, **kwargs).arguments)

    return module.register_forward_pre_hook(before, with_kwargs=True)


def _tensors(value: Any) -> list[Tensor]:
    """Every tensor in a structure; a sparse tensor (spconv) counts by its features."""
    if isinstance(value, Tensor):
        return [value]
    if _is_sparse(value):
        return [value.features]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return []
    return [tensor for item in value for tensor in _tensors(item)]


def _unchanged(before: list[tuple[Tensor, int]], value: Any) -> bool:
    """Whether a structure still holds the same tensors, none of them written to."""
    now = _tensors(value)
    return len(now) == len(before) and all(
        tensor is same and tensor._version == version
        for tensor, (same, version) in zip(now, before, strict=True)
    )


def _clone(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if _is_sparse(value):
        return value.replace_feature(value.features.clone())
    if isinstance(value, dict):
        return {key: _clone(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        items = [_clone(item) for item in value]
        return type(value)(*items) if hasattr(value, '_fields') else type(value)(items)
    return value


def _is_sparse(value: Any) -> bool:
    """Whether a value is a sparse tensor of spconv, which this package does not import."""
    return hasattr(value, 'features') and hasattr(value, 'replace_feature')
