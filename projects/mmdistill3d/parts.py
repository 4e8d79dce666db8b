"""How the parts of a detector are joined: which layers read which channels."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvNd

# Layers of mmdet3d's and our heads that read the neck: centre heads, TransFusion, anchor heads.
_READ_THE_NECK = ('shared_conv', 'shared_conv.conv', 'conv_cls', 'conv_reg', 'conv_dir_cls')


def part_of(model: nn.Module, name: str) -> tuple[str, nn.Module | None]:
    """A detector's part and its name there; MMDetection3D writes some with ``pts_``."""
    for full_name in (f'pts_{name}', name):
        if getattr(model, full_name, None) is not None:
            return full_name, getattr(model, full_name)
    return name, None


def first_backbone_conv(model: nn.Module) -> tuple[str, nn.Module | None]:
    prefix, backbone = part_of(model, 'backbone')
    for name, layer in backbone.named_modules() if backbone is not None else ():
        if isinstance(layer, _ConvNd):
            return f'{prefix}.{name}', layer
    return prefix, None


def depth_of_map(model: nn.Module, conv: nn.Module | None) -> int | None:
    """Heights in the map that the sparse encoder hands to the backbone."""
    channels = getattr(part_of(model, 'middle_encoder')[1], 'output_channels', None)
    if conv is None or not channels or conv.in_channels % channels:
        return None
    return conv.in_channels // channels


def neck_widths(model: nn.Module) -> tuple[int, ...]:
    """Channels of each map that the neck concatenates."""
    deblocks = getattr(part_of(model, 'neck')[1], 'deblocks', ())
    convs = [next(m for m in block.modules() if isinstance(m, _ConvNd)) for block in deblocks]
    return tuple(conv.out_channels for conv in convs)


def readers_of_neck(model: nn.Module) -> list[str]:
    """Names, in the head, of the layers that read the maps which the neck concatenates."""
    _, head = part_of(model, 'bbox_head')
    layers = {} if head is None else dict(head.named_modules())
    width = sum(neck_widths(model))
    return [
        name
        for name in _READ_THE_NECK
        if isinstance(layers.get(name), _ConvNd) and layers[name].in_channels == width
    ]
