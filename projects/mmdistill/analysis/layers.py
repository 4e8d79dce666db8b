"""What links can address in a model, with what each layer returns for one batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mmdistill.reading.address import format_selectors
from mmdistill.reading.passes import pass_of
from mmdistill.reading.recorders import ModuleOutputs, listen_to
from mmdistill.reading.rows import rows_of
from mmdistill.reading.shapes import without_trace
from mmdistill.reading.sparse import is_sparse

LEAST_CELLS, LEAST_POINTS = 4, 32
"""Fewer along an axis are no map and no points: kinds of sizes, numbers of a box."""


@dataclass(frozen=True)
class Returned:
    """One addressable value of a model.

    Args:
        address (str): as a link writes it.
        kind (str): type of the value.
        shape (tuple[int, ...]): of the tensor; of the features of a sparse tensor.
        size (tuple[int, ...]): its spatial size; empty where it has none.
        calls (int): how often its module ran.
        is_predicted_only (bool): whether it is there in prediction, and not in training.
    """

    address: str
    kind: str
    shape: tuple[int, ...]
    size: tuple[int, ...]
    calls: int
    is_predicted_only: bool = False


def list_layers(model: nn.Module, batch: Any, mode: str = 'loss') -> list[Returned]:
    """Run a model on a raw batch and list every tensor that a module returned.

    Args:
        model: The model, which is left as it was.
        batch: As its ``data_preprocessor`` takes it; for training with annotations.
        mode: Of its ``forward``. A training pass (``'loss'``) is followed by that of a teacher,
            which predicts, and what is there alone is marked.
    """
    with torch.no_grad(), without_trace(model):
        layers = _run(model, batch, mode)
        if mode != 'loss':
            return layers
        seen = {layer.address for layer in layers}
        predicted = _run(model, batch, pass_of(model))
    own = (layer for layer in predicted if layer.address not in seen)
    return layers + [replace(layer, is_predicted_only=True) for layer in own]


def _run(model: nn.Module, batch: Any, mode: str) -> list[Returned]:
    outputs: dict[str, list[Any]] = {}
    ends = []
    data = model.data_preprocessor(copy.deepcopy(batch), mode == 'loss')
    try:
        for name, module in model.named_modules():
            if name and not name.startswith('data_preprocessor'):
                outputs[name] = []
                ends.append(listen_to(module, after=_keep(outputs[name])))
        model(**data, mode=mode)
    finally:
        for end in reversed(ends):
            end()
    layers = []
    for name, values in outputs.items():
        for selectors, value in values[0] if values else ():
            sparse = is_sparse(value)
            tensor = value.features if sparse else value
            size = tuple(value.spatial_shape) if sparse else tuple(tensor.shape[2:])
            kind = type(value).__name__
            layers.append(Returned(name + selectors, kind, tuple(tensor.shape), size, len(values)))
    return layers


def leaves(value: Any, selectors: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the selectors and value of every tensor, dense or sparse, in a structure."""
    if isinstance(value, Tensor) or is_sparse(value):
        yield selectors, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, selectors + format_selectors((key,)))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from leaves(item, f'{selectors}[{number}]')


def shallow(layers: list[Returned], depth: int) -> list[Returned]:
    """Keep the layers of modules down to a depth."""
    return [layer for layer in layers if layer.address.split('[')[0].count('.') < depth]


def side_by_side(layers: dict[str, list[Returned]]) -> Iterator[str]:
    """Lines with the layers of all models side by side: shape, stride and calls of each."""
    rows = {name: {layer.address: layer for layer in found} for name, found in layers.items()}
    addresses = list(dict.fromkeys(address for found in rows.values() for address in found))
    head = ''.join(f'  {f"{name}: shape":26s} {"stride":>6s} {"calls":>5s}' for name in rows)
    yield f'{"address":60s} {"type":17s}{head}'
    for address in addresses:
        found = [rows[name].get(address) for name in rows]
        kind = next(layer.kind for layer in found if layer)
        only = '  prediction only' if any(x and x.is_predicted_only for x in found) else ''
        cells = [
            _cell(layer, layers[name]) if layer else f'  {"-":26s} {"-":>6s} {"-":>5s}'
            for name, layer in zip(rows, found, strict=True)
        ]
        yield f'{address:60s} {kind:17s}{"".join(cells)}{only}'


def _cell(layer: Returned, layers: list[Returned]) -> str:
    shape = ' x '.join(map(str, layer.shape))
    return f'  {shape:26s} {_stride(layer, layers):>6s} {layer.calls:5d}'


def _stride(layer: Returned, layers: list[Returned]) -> str:
    """How much coarser a map is than the finest of its model, along the first axis."""
    finest = max((other.size[0] for other in layers if len(other.size) >= 2), default=0)
    if len(layer.size) < 2 or finest % layer.size[0]:
        return '-'
    return str(finest // layer.size[0])


def pairs(
    name: str, student: list[Returned], teacher: list[Returned], model: nn.Module
) -> Iterator[str]:
    """Lines with the addresses at which both models return as many cells, as a config has them.

    Args:
        name: The teacher's name.
        student: The student's layers.
        teacher: The teacher's.
        model: The student, which tells what the rows of its layers stand for.
    """
    by_address = {layer.address: layer for layer in teacher}
    yield f'\npairs of the student and {name} with maps of one size:'
    for layer in shallow(student, 1):
        other = by_address.get(layer.address)
        if other is None or layer.is_predicted_only or layer.size != other.size:
            continue
        try:
            rows = rows_of(model, ModuleOutputs(layer.address))
        except ValueError:  # each model has rows of its own
            continue
        if not _is_map(layer):
            continue
        condition = '' if rows is None else f', where both have the same {rows}'
        channels = f'student_channels={layer.shape[1]}, teacher_channels={other.shape[1]}'
        pair = f'student={layer.address!r}, teacher={other.address!r}'
        yield f'  {pair}   # {channels}, size {" x ".join(map(str, layer.size))}{condition}'


def _is_map(layer: Returned) -> bool:
    """Whether axes behind the channels are places: cells of a map, or points ``(B, C, N)``."""
    if len(layer.size) == 1:
        return layer.size[0] >= LEAST_POINTS
    return len(layer.size) > 1 and min(layer.size) >= LEAST_CELLS


def _keep(values: list[Any]) -> Any:
    # At once: what is returned may be filled further, as dicts of features are.
    return lambda _args, _kwargs, output: values.append(list(leaves(output)))
