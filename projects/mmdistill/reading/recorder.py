"""Recording: what links, hooks and notebooks read from a model while it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmdistill.reading.recorders import Recorder, build_recorder
from mmdistill.reading.sparse import is_sparse, replace_features

Spec = str | Mapping[str, Any] | Recorder


class FeatureRecorder:
    """Records values of a model during one forward pass.

    Values live inside :meth:`record`, hooks only inside :meth:`Recording.listen`. So a model that
    is evaluated, copied (EMA), exported or visualised carries no hooks, and nothing is held once
    the block is left, also when it is left by an exception::

        recorder = FeatureRecorder(model, ['pts_neck[0]'])
        with recorder.record() as recording:
            with recording.listen():
                model(inputs, data_samples, mode='loss')
            feature = recording['pts_neck[0]']

    Args:
        model: The model to record.
        layers: What to record: addresses, or configs of recorders; equal ones are recorded once.
        role: How errors call the model, e.g. ``'student'``.
        needs_grad: Whether gradients must flow through what is recorded. A layer inside
            a re-entrant activation checkpoint runs without gradients at record time and is
            refused.

    Raises:
        KeyError: The model has no such layer.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Iterable[Spec],
        role: str = 'model',
        needs_grad: bool = False,
    ) -> None:
        self.model, self.role, self.needs_grad = model, role, needs_grad
        self.recorders = list(dict.fromkeys(build_recorder(layer) for layer in layers))
        for recorder in self.recorders:
            recorder.check(model, role)
        self._passes = 0
        self._sizes: set[int | None] = set()

    @contextmanager
    def record(self) -> Iterator[Recording]:
        """Yield an empty :class:`Recording`; what it holds is released when the block is left."""
        recording = Recording(self)
        try:
            yield recording
        finally:
            recording.clear()

    def may_stop(self, batch_size: int | None) -> bool:
        """Whether a pass may end behind the last layer: most may, some must count the calls.

        A second call behind that point would go unseen. So the first pass runs to its end, the
        first of each batch size (some models run a layer once a sample), and every one whose
        number, from 8 on, is a power of two.
        """
        self._passes += 1
        is_due = self._passes >= 8 and self._passes & (self._passes - 1) == 0
        is_due = is_due or batch_size not in self._sizes
        self._sizes.add(batch_size)
        return not is_due


class Recording:
    """The values of one forward pass, by recorder or address; see :class:`FeatureRecorder`."""

    def __init__(self, recorder: FeatureRecorder) -> None:
        self._recorder = recorder
        self.stops_early = False
        self._is_attached = False
        self._keeps_copies = False
        self.predictions: Any = None  # what the pass returned, where somebody asks for it
        self._values: dict[Recorder, list] = {r: [] for r in recorder.recorders}
        self._calls: dict[Recorder, int] = dict.fromkeys(recorder.recorders, 0)

    @contextmanager
    def listen(
        self, stop_early: bool = False, always: bool = False, batch_size: int | None = None
    ) -> Iterator[None]:
        """Attach the recorders for the forward pass in this block.

        Args:
            stop_early: End the pass once every layer is recorded, by a signal that this block
                absorbs. What fails behind that point, in passes that run on to count the calls, is
                absorbed, too, and what is written there into recorded values: nobody needs it.
            always: Do so in each pass; calls behind the last layer are then not counted.
            batch_size: Samples in this pass, see :meth:`FeatureRecorder.may_stop`.
        """
        recorder = self._recorder
        counts_all = any(each.call == 'all' for each in recorder.recorders)
        self.stops_early = (
            stop_early and not counts_all and (always or recorder.may_stop(batch_size))
        )
        self._keeps_copies = stop_early and not counts_all and not self.stops_early
        ends = []
        try:
            for each in recorder.recorders:
                ends.append(each.attach(recorder.model, recorder.role, self._store(each)))
            self._is_attached = True
            yield
        except _AllRecorded as signal:
            if signal.recording is not self:
                raise
        except Exception as error:
            if not stop_early or counts_all or not self.is_complete:
                raise
            print_log(
                f'the {recorder.role} failed behind the last layer that is read, which nobody '
                f'needs: {type(error).__name__}: {error}',
                logger='current',
                level=logging.DEBUG,
            )
        finally:
            for end in reversed(ends):
                end()

    def __getitem__(self, layer: Spec) -> Any:
        """Return what was recorded.

        Raises:
            KeyError: The layer did not run, or ran more often than the recorder says.
            RuntimeError: The value was changed in place since it was recorded.
        """
        layer = build_recorder(layer)
        role, calls = self._recorder.role, self._calls[layer]
        values = self._values[layer]
        if not values:
            ran = f'ran {calls} time(s)' if calls else 'did not run'
            raise KeyError(
                f"the {role}'s layer {layer} {ran} in this forward pass; link a layer that runs, "
                'or another call'
            )
        if layer.call is None and calls > 1:
            raise KeyError(
                f"the {role}'s layer {layer} ran {calls} times in one forward pass; choose one: "
                f"dict(layer='{layer.layer}', call=0) or call='all' for the list"
            )
        for value, before in values:
            if not _unchanged(before, value):
                raise RuntimeError(
                    f"the {role}'s layer {layer} was changed in place after it was recorded (an "
                    f'inplace ReLU or clip_sigmoid behind it?); record a copy with '
                    f"dict(layer='{layer.layer}', clone=True), or link the layer behind it"
                )
        return [value for value, _ in values] if layer.call == 'all' else values[0][0]

    @property
    def is_complete(self) -> bool:
        """Whether each recorder has what it asks for, as those of parameters have at once."""
        return all(self._values.values())

    def restore(self, values: dict[Recorder, Any]) -> None:
        """Take values that an earlier pass recorded at every layer, in place of a pass."""
        for layer, value in values.items():
            calls = value if layer.call == 'all' else [value]
            self._calls[layer] = len(calls)
            self._values[layer] = [(v, [(t, t._version) for t in tensors_in(v)]) for v in calls]

    def clear(self) -> None:
        """Release everything."""
        self.predictions = None
        for values in self._values.values():
            values.clear()

    def _store(self, layer: Recorder) -> Callable[[Any, Callable[[Any], Any]], None]:
        """Keep a value if the recorder asks for this call; end the pass when all are there."""

        def store(value: Any, select: Callable[[Any], Any]) -> None:
            call = self._calls[layer]
            self._calls[layer] += 1
            if self._recorder.needs_grad and not torch.is_grad_enabled():
                raise RuntimeError(
                    f"the {self._recorder.role}'s layer {layer} runs without gradients, as under "
                    'torch.no_grad() or inside a re-entrant activation checkpoint; for the latter '
                    'use use_reentrant=False, or link a layer outside the checkpointed block'
                )
            if layer.call in ('all', call) or (layer.call is None and call == 0):
                value = select(value)
                if layer.clone:
                    value = _clone(value)
                before = [(tensor, tensor._version) for tensor in tensors_in(value)]
                self._values[layer].append((value, before))
            if self.is_complete and self._is_attached:
                if self.stops_early:
                    raise _AllRecorded(self)
                if self._keeps_copies:
                    self._keep_copies()

        return store

    def _keep_copies(self) -> None:
        """Copy what has not been changed yet, as if the pass ended here."""
        self._keeps_copies = False
        for values in self._values.values():
            for number, (value, before) in enumerate(values):
                if _unchanged(before, value):
                    value = _clone(value)
                    values[number] = (value, [(t, t._version) for t in tensors_in(value)])


class _AllRecorded(BaseException):
    """Ends a forward pass whose remaining layers nobody reads.

    No ``Exception``: a model that absorbs those must not absorb this.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording


@contextmanager
def record_layers(model: nn.Module, *layers: Spec) -> Iterator[dict[Any, Any]]:
    """Record layers of any model while the block runs, for notebooks and tests.

    ::

        with record_layers(model, 'pts_neck[0]', 'bbox_head.heatmap_head') as values:
            model.test_step(batch)
        values['pts_neck[0]'].shape

    Args:
        model: Any module.
        *layers: Addresses or recorders; they are the keys of the result.

    Yields:
        A dict that holds the values once the block is left.

    Raises:
        KeyError: A layer does not exist, or did not run once.
        RuntimeError: A value was changed in place.
    """
    values: dict[Any, Any] = {}
    with FeatureRecorder(model, layers).record() as recording:
        with recording.listen():
            yield values
        for layer in layers:
            values[layer if isinstance(layer, (str, Recorder)) else build_recorder(layer)] = (
                recording[layer]
            )


def tensors_in(value: Any) -> list[Tensor]:
    """Every tensor in a structure; a sparse tensor counts by its features."""
    if isinstance(value, Tensor):
        return [value]
    if is_sparse(value):
        return [value.features]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return []
    return [tensor for item in value for tensor in tensors_in(item)]


def map_structure(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply a function to every leaf of dicts, lists, tuples and named tuples."""
    if isinstance(value, dict):
        return {key: map_structure(function, item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        items = [map_structure(function, item) for item in value]
        # The one mark that a named tuple has, whose type takes its items one by one.
        return type(value)(*items) if '_fields' in dir(type(value)) else type(value)(items)
    return function(value)


def _unchanged(before: list[tuple[Tensor, int]], value: Any) -> bool:
    now = tensors_in(value)
    return len(now) == len(before) and all(
        tensor is same and tensor._version == version
        for tensor, (same, version) in zip(now, before, strict=True)
    )


def _clone(value: Any) -> Any:
    def clone(item: Any) -> Any:
        if isinstance(item, Tensor):
            return item.clone()
        return replace_features(item, item.features.clone()) if is_sparse(item) else item

    return map_structure(clone, value)
