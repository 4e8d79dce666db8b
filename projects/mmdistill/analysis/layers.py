"""What links can address in a model, with what each layer returns for one batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmdistill.reading.sparse import is_sparse


@dataclass(frozen=True)
class Returned:
    """One addressable value of a model.

    Args:
        address (str): as a link writes it.
        kind (str): type of the value.
        shape (tuple[int, ...]): of the tensor; of the features of a sparse tensor.
        size (tuple[int, ...]): its spatial size; empty where it has none.
        calls (int): how often its module ran.
    """

    address: str
    kind: str
    shape: tuple[int, ...]
    size: tuple[int, ...]
    calls: int


def list_layers(model: nn.Module, batch: Any) -> list[Returned]:
    """Run a prediction on a raw batch and list every tensor that a module returned."""
    outputs: dict[str, list[Any]] = {}
    handles = []
    for name, module in model.named_modules():
        if name and not name.startswith('data_preprocessor'):
            outputs[name] = []
            handles.append(module.register_forward_hook(_keep(outputs[name])))
    try:
        with torch.no_grad():
            model.eval()(**model.data_preprocessor(batch, False), mode='predict')
    finally:
        for handle in handles:
            handle.remove()
    layers = []
    for name, values in outputs.items():
        for selectors, value in leaves(values[0]) if values else ():
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
            yield from leaves(item, f'{selectors}[{key}]')
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
        cells = [
            _cell(layer, layers[name]) if layer else f'  {"-":26s} {"-":>6s} {"-":>5s}'
            for name, layer in zip(rows, found, strict=True)
        ]
        yield f'{address:60s} {kind:17s}{"".join(cells)}'


def _cell(layer: Returned, layers: list[Returned]) -> str:
    shape = ' x '.join(map(str, layer.shape))
    return f'  {shape:26s} {_stride(layer, layers):>6s} {layer.calls:5d}'


def _stride(layer: Returned, layers: list[Returned]) -> str:
    """How much coarser a map is than the finest of its model, along the first axis."""
    finest = max((other.size[0] for other in layers if len(other.size) >= 2), default=0)
    if len(layer.size) < 2 or finest % layer.size[0]:
        return '-'
    return str(finest // layer.size[0])


def pairs(name: str, student: list[Returned], teacher: list[Returned]) -> Iterator[str]:
    """Lines with the addresses at which maps of both models have one size, as a config has them."""
    by_address = {layer.address: layer for layer in teacher}
    yield f'\npairs of the student and {name} with maps of one size:'
    for layer in shallow(student, 1):
        other = by_address.get(layer.address)
        if other is None or len(layer.size) < 2 or layer.size != other.size:
            continue
        channels = f'student_channels={layer.shape[1]}, teacher_channels={other.shape[1]}'
        pair = f'student={layer.address!r}, teacher={other.address!r}'
        yield f'  {pair}   # {channels}, size {" x ".join(map(str, layer.size))}'


def _keep(values: list[Any]) -> Any:
    return lambda _module, _args, output: values.append(output)
