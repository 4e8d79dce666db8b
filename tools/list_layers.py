"""List the layers that links can address, with what they return for one batch.

For a distillation config, teacher and student stand side by side, followed by pairs whose maps
have the same size: candidates for a link.

Example:
    python tools/list_layers.py configs/distill/bevfusion_crd_mini.py
    python tools/list_layers.py configs/bevfusion/bevfusion_lidar_student_mini.py --depth 2
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._common import check_config, check_data, prepare_process

prepare_process()

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn

from mmdistill import Distiller
from tools._run import add_cfg_options


@dataclass(frozen=True)
class Layer:
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


def main() -> None:
    args = parse_args()
    try:
        check_config(args.config)
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        check_data(cfg, loaders=('train_dataloader',))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'{type(error).__name__}: {error}')
    init_default_scope(cfg.get('default_scope', 'mmdet3d'))
    if cfg.model.get('teacher'):
        # Shapes do not depend on what a teacher has learned.
        cfg.model.teacher.update(checkpoint=None, allow_random_weights=True)
    model = MODELS.build(cfg.model)
    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader)))
    models = {'model': model}
    if isinstance(model, Distiller):
        teachers = {name: teacher.model for name, teacher in model.teachers.items()}
        models = {'student': model.student, **teachers}
    layers = {name: list_layers(part, batch) for name, part in models.items()}
    print('\n' + ', '.join(f'{name}: {type(part).__name__}' for name, part in models.items()))
    print_layers({name: shallow(found, args.depth) for name, found in layers.items()})
    for name in list(layers)[1:]:
        print_pairs(name, layers['student'], layers[name])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='a distillation config, or that of a plain model')
    parser.add_argument('--depth', type=int, default=3, help='modules down to this depth')
    add_cfg_options(parser)
    return parser.parse_args()


def list_layers(model: nn.Module, batch: Any) -> list[Layer]:
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
            is_sparse = not isinstance(value, Tensor)
            tensor = value.features if is_sparse else value
            size = tuple(value.spatial_shape) if is_sparse else tuple(tensor.shape[2:])
            kind = type(value).__name__
            layers.append(Layer(name + selectors, kind, tuple(tensor.shape), size, len(values)))
    return layers


def leaves(value: Any, selectors: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the selectors and value of every tensor, dense or sparse, in a structure."""
    if isinstance(value, Tensor) or (hasattr(value, 'features') and hasattr(value, 'indices')):
        yield selectors, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f'{selectors}[{key}]')
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from leaves(item, f'{selectors}[{number}]')


def shallow(layers: list[Layer], depth: int) -> list[Layer]:
    return [layer for layer in layers if layer.address.split('[')[0].count('.') < depth]


def print_layers(layers: dict[str, list[Layer]]) -> None:
    """Print the layers of all models side by side: shape, stride and calls of each."""
    rows = {name: {layer.address: layer for layer in found} for name, found in layers.items()}
    addresses = list(dict.fromkeys(address for found in rows.values() for address in found))
    head = ''.join(f'  {f"{name}: shape":26s} {"stride":>6s} {"calls":>5s}' for name in rows)
    print(f'{"address":60s} {"type":17s}{head}')
    for address in addresses:
        found = [rows[name].get(address) for name in rows]
        kind = next(layer.kind for layer in found if layer)
        cells = [
            cell(layer, layers[name]) if layer else f'  {"-":26s} {"-":>6s} {"-":>5s}'
            for name, layer in zip(rows, found, strict=True)
        ]
        print(f'{address:60s} {kind:17s}{"".join(cells)}')


def cell(layer: Layer, layers: list[Layer]) -> str:
    shape = ' x '.join(map(str, layer.shape))
    return f'  {shape:26s} {stride(layer, layers):>6s} {layer.calls:5d}'


def stride(layer: Layer, layers: list[Layer]) -> str:
    """How much coarser a map is than the finest of its model, along the first axis."""
    finest = max((other.size[0] for other in layers if len(other.size) >= 2), default=0)
    if len(layer.size) < 2 or finest % layer.size[0]:
        return '-'
    return str(finest // layer.size[0])


def print_pairs(name: str, student: list[Layer], teacher: list[Layer]) -> None:
    """Pairs of one address whose maps have one size, as lines for a config."""
    by_address = {layer.address: layer for layer in teacher}
    print(f'\npairs of the student and {name} with maps of one size:')
    for layer in shallow(student, 1):
        other = by_address.get(layer.address)
        if other is None or len(layer.size) < 2 or layer.size != other.size:
            continue
        channels = f'student_channels={layer.shape[1]}, teacher_channels={other.shape[1]}'
        pair = f'student={layer.address!r}, teacher={other.address!r}'
        print(f'  {pair}   # {channels}, size {" x ".join(map(str, layer.size))}')


def _keep(values: list[Any]) -> Any:
    return lambda _module, _args, output: values.append(output)


if __name__ == '__main__':
    main()
