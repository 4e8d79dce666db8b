"""What a link knows of a layer before training: its shape, and where its cells lie.

Shapes are read by running a model on a made-up batch. What else there is to know, such as metres,
other packages tell by functions that they register here.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmdistill.contracts import ProvidesExample
from mmdistill.reading.address import describe
from mmdistill.reading.recorder import FeatureRecorder
from mmdistill.reading.recorders import ModuleOutputs, Recorder
from mmdistill.reading.sparse import is_sparse

Range = tuple[float, ...]


@dataclass(frozen=True)
class Layer:
    """One end of a link, as far as it is known when the distiller is built.

    Args:
        recorder: Where it is.
        model: The model that computes it.
        role: How errors call the model, e.g. ``'student'``.
        value: What it returned for the made-up batch; ``None`` where there is none to make up.
            Its numbers mean nothing.
        axes: Order of a map's spatial axes, ``'xy'`` or ``'yx'``, where that is known.
        range: Range of a map in metres, ``(x, y, z)`` low and high, where that is known.
    """

    recorder: Recorder
    model: nn.Module
    role: str = 'model'
    value: Any = None
    axes: str | None = None
    range: Range | None = None

    @property
    def shape(self) -> Any:
        """Shape of the tensor, or of a sparse tensor's features; in structures, one for each."""
        return _shape(self.value)

    @property
    def size(self) -> tuple[int, ...] | None:
        """Spatial size of a map or sparse tensor, in cells; ``None`` for other values."""
        if is_sparse(self.value):
            return tuple(int(size) for size in self.value.spatial_shape)
        is_map = isinstance(self.value, Tensor) and self.value.dim() > 2
        return tuple(self.value.shape[2:]) if is_map else None

    @property
    def channels(self) -> int | list[int] | None:
        """Channels ``C`` of ``(B, C, ...)``, or of a sparse tensor; a list for several values."""
        if isinstance(self.value, (tuple, list)):
            return [replace(self, value=item).channels for item in self.value]
        return _channels(self.value)

    def __str__(self) -> str:
        what = 'unknown' if self.value is None else describe(self.value)
        return f"the {self.role}'s {self.recorder}, {what}"


LayerFacts = Callable[[nn.Module, Recorder], dict[str, Any]]
MakesExample = Callable[[nn.Module], dict[str, Any] | None]

_FACTS: list[LayerFacts] = []
_EXAMPLES: list[MakesExample] = []


def register_layer_facts(function: LayerFacts) -> LayerFacts:
    """Let a function say what it knows of a model's layers.

    Args:
        function: Takes the model and the layer's recorder; returns some of ``axes`` and ``range``,
            or nothing for layers that it does not know.
    """
    _FACTS.append(function)
    return function


def register_example(function: MakesExample) -> MakesExample:
    """Let a function make up a batch for the models that it knows.

    Args:
        function: Takes the model; returns a raw batch as its ``data_preprocessor`` takes it, always
            the same one, or ``None`` for models that it does not know.
    """
    _EXAMPLES.append(function)
    return function


def layer_facts(model: nn.Module, recorder: Recorder) -> dict[str, Any]:
    """Return what the registered functions know of a layer."""
    facts: dict[str, Any] = {}
    for function in _FACTS:
        facts.update(function(model, recorder))
    return facts


def example_of(model: nn.Module) -> dict[str, Any] | None:
    """Return a made-up raw batch for a model, or ``None`` where nobody knows how."""
    if isinstance(model, ProvidesExample):
        return model.example_batch()
    for function in _EXAMPLES:
        example = function(model)
        if example is not None:
            return example
    return None


def read_layers(
    model: nn.Module,
    recorders: Sequence[Recorder],
    batch: dict[str, Any] | None,
    role: str,
    mode: str,
) -> list[Layer]:
    """Run a model on a prepared batch until its layers are there, and describe them.

    The pass leaves no trace: no gradients, no random numbers drawn, no statistics moved, every
    module as it was.

    Args:
        model: The model.
        recorders: The layers.
        batch: Arguments of the model's ``forward``; ``None`` where there is no made-up batch.
        role: How errors call the model.
        mode: Of the model's ``forward``: ``'loss'`` for a student, that of its pass for a teacher.

    Returns:
        One layer for each recorder; without a value where the model cannot run on the batch.
    """
    values: dict[Recorder, Any] = {}
    if batch is not None and recorders:
        try:
            values = _run(model, recorders, batch, role, mode)
        except Exception as error:
            print_log(
                f"the {role}'s shapes are checked at the first batch: a made-up one fails in it "
                f'({type(error).__name__}: {error})',
                logger='current',
                level=logging.INFO,
            )
    return [
        Layer(recorder, model, role, values.get(recorder), **layer_facts(model, recorder))
        for recorder in recorders
    ]


def _run(
    model: nn.Module, recorders: Sequence[Recorder], batch: dict[str, Any], role: str, mode: str
) -> dict[Recorder, Any]:
    reader = FeatureRecorder(model, recorders, role)
    with torch.no_grad(), without_trace(model), reader.record() as recording:
        with recording.listen(stop_early=True, always=True):
            model(**copy.deepcopy(batch), mode=mode)
        return {recorder: recording[recorder] for recorder in reader.recorders}


@contextmanager
def without_trace(*models: nn.Module) -> Iterator[None]:
    """Let models run in eval mode inside the block; outside nothing of it is seen."""
    training = [module for model in models for module in model.modules() if module.training]
    try:
        for model in models:
            model.eval()
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module in training:
            module.training = True


def check_channels_first(layer: Layer) -> None:
    """Refuse a sequence ``(B, T, C)``, whose time a loss would take for channels.

    It shows where the module says how wide it is, and that is the last axis and not the first one
    behind the batch.

    Raises:
        ValueError: The layer is such a sequence; names the connector that turns it.
    """
    is_sequence = isinstance(layer.value, Tensor) and layer.value.dim() == 3
    if not is_sequence or type(layer.recorder) is not ModuleOutputs:
        return
    address = layer.recorder.address(layer.model, layer.role)
    widths = _widths(layer.model.get_submodule(address.module))
    if (
        not address.selectors
        and layer.value.shape[2] in widths
        and layer.value.shape[1] not in widths
    ):
        raise ValueError(
            f'{layer}, has its channels last, and the loss would take the axis before for them: '
            f"add {layer.role}_connector=dict(type='SequenceConnector')"
        )


def _widths(module: nn.Module) -> list[Any]:
    """How many channels a module says to return, under the names that are usual for that."""
    names = ('out_channels', 'out_features', 'embed_dim', 'embedding_dim')
    widths = [getattr(module, name, None) for name in names]
    return [*widths, *getattr(module, 'normalized_shape', ())[-1:]]


def _shape(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if is_sparse(value):
        return tuple(value.features.shape)
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_shape(item) for item in value]
    return None


def _channels(value: Any) -> int | None:
    if is_sparse(value):
        value = value.features
    return value.shape[1] if isinstance(value, Tensor) and value.dim() > 1 else None
