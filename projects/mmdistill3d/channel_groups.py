"""Which channels of a one-stage 3D detector are written and read together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mmcv.cnn import ConvModule
from mmdet3d.models.backbones import SECOND
from mmdet3d.models.necks import SECONDFPN
from mmdet3d.models.voxel_encoders import PillarFeatureNet
from spconv.pytorch import SparseModule, SparseSequential
from torch import nn

from mmdistill.axes import is_conv, is_norm
from mmdistill.channel_order import ChannelGroup, Reader, Writer
from mmdistill3d.parts import (
    depth_of_map,
    first_backbone_conv,
    neck_widths,
    part_of,
    readers_of_neck,
)

_PARTS = ('voxel_encoder', 'middle_encoder', 'backbone', 'neck', 'bbox_head')
# Whose ``forward`` reads channels layer by layer; a class of another ``forward`` may read any.
_SPARSE_ENCODERS = ('SparseEncoder', 'PortableSparseEncoder', 'BEVFusionSparseEncoder')
# Of one channel at a time.
_ELEMENTWISE = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Identity, nn.Dropout)


def further_parts(model: nn.Module) -> list[str]:
    """Return the parts of a detector, with parameters, that might read channels of the others."""
    known = {f'{prefix}{part}' for part in _PARTS for prefix in ('', 'pts_')}
    return [
        name
        for name, child in model.named_children()
        if name not in known and next(child.parameters(), None) is not None
    ]


def channel_groups(model: nn.Module) -> list[ChannelGroup]:
    """Return the groups of channels of a detector whose every writer and reader is known.

    Those of sparse encoders and pillars, of ``SECOND`` and ``SECONDFPN``, and those inside the
    branches of heads. What a transformer reads, and parts of other kinds, is in none of them.

    Args:
        model: A built detector of one stage and of points alone.

    Raises:
        ValueError: It has a further part, which might read channels of the others.
    """
    strange = further_parts(model)
    if strange:
        raise ValueError(
            f'{type(model).__name__} has {strange} beside {list(_PARTS)}. Which layers read which '
            'channels is known of one-stage detectors of points'
        )
    walk = _Walk()
    _neck(model, walk, _backbone(model, walk, _map(model, walk)))
    _branches(model, walk)
    return [
        ChannelGroup(tuple(channels.writers), tuple(channels.readers))
        for channels in walk.found
        if channels.writers and channels.readers
    ]


@dataclass
class _Channels:
    """Channels, by whom they are written and read as far as it is known."""

    writers: list[Writer] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)


class _Walk:
    """Follows channels through layers one behind the other."""

    def __init__(self) -> None:
        self.found: list[_Channels] = []

    def start(self, layer: str, norm: str) -> _Channels:
        """Channels that begin here."""
        self.found.append(_Channels([Writer(layer, norm)]))
        return self.found[-1]

    def through(
        self, channels: _Channels, name: str, module: nn.Module, inner: int = 1
    ) -> _Channels:
        """Return the channels behind a module, which those before it enter.

        Args:
            channels: What enters.
            name: Of the module, in the model.
            module: Layers in a row.
            inner: Values of each channel at the module's entrance.
        """
        conv = None
        for path, layer in _steps(name, module):
            if _is_residual(layer):
                channels.readers.append(Reader(f'{path}.conv1'))
                inside = self.start(f'{path}.conv1', f'{path}.bn1')
                inside.readers.append(Reader(f'{path}.conv2'))
                if channels.writers:
                    channels.writers.append(Writer(f'{path}.conv2', f'{path}.bn2'))
            elif is_conv(layer):
                channels.readers.append(Reader(path, inner=inner))
                channels, conv, inner = _Channels(), path, 1
            elif is_norm(layer) and conv is not None:
                channels, conv = self.start(conv, path), None
            elif not isinstance(layer, _ELEMENTWISE):
                channels.writers.clear()  # it may read them in any way
                channels, conv = _Channels(), None
        return channels


def _steps(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers of a row, rows in it included, and their names."""
    if isinstance(module, nn.Sequential | SparseSequential) or (
        isinstance(module, ConvModule) and module.order == ('conv', 'norm', 'act')
    ):
        for key, child in module.named_children():
            yield from _steps(f'{name}.{key}', child)
    else:
        yield name, module


def _is_residual(layer: nn.Module) -> bool:
    """Whether it is a sparse residual block, of MMDetection3D or ours, that adds what it gets."""
    parts = {name for name, child in layer.named_children() if [*child.parameters()]}
    return (
        isinstance(layer, SparseModule)
        and parts == {'conv1', 'bn1', 'conv2', 'bn2'}
        and is_norm(layer.bn1)
        and is_norm(layer.bn2)
    )


def _map(model: nn.Module, walk: _Walk) -> _Channels:
    """Channels of the map of points that the backbone reads."""
    name, encoder = part_of(model, 'middle_encoder')
    rows = ('conv_input', 'encoder_layers', 'conv_out')
    if (
        _defines_forward(encoder) in _SPARSE_ENCODERS
        and not getattr(encoder, 'return_middle_feats', False)
        and {key for key, _ in encoder.named_children()} == {*rows}  # no further layer reads stages
    ):
        channels = _Channels()
        for part in rows:
            channels = walk.through(channels, f'{name}.{part}', getattr(encoder, part))
        return channels
    name, pillars = part_of(model, 'voxel_encoder')
    if (
        _defines_forward(encoder) == 'PointPillarsScatter'
        and type(pillars) is PillarFeatureNet
        and len(pillars.pfn_layers) == 1
        and is_norm(pillars.pfn_layers[0].norm)
    ):
        return walk.start(f'{name}.pfn_layers.0.linear', f'{name}.pfn_layers.0.norm')
    return _Channels()


def _defines_forward(module: nn.Module | None) -> str | None:
    """Name of the class, among a module's bases, that says what it computes."""
    return next((base.__name__ for base in type(module).__mro__ if 'forward' in vars(base)), None)


def _backbone(model: nn.Module, walk: _Walk, channels: _Channels) -> list[_Channels]:
    """Channels of the map behind each block of ``SECOND``."""
    name, backbone = part_of(model, 'backbone')
    if type(backbone) is not SECOND:
        return []
    stages, inner = [], depth_of_map(model, first_backbone_conv(model)[1]) or 1
    for number, block in enumerate(backbone.blocks):
        channels = walk.through(channels, f'{name}.blocks.{number}', block, inner)
        stages.append(channels)
        inner = 1
    return stages


def _neck(model: nn.Module, walk: _Walk, stages: list[_Channels]) -> None:
    """Follow the maps through ``SECONDFPN`` to the head, which reads them side by side."""
    name, neck = part_of(model, 'neck')
    if type(neck) is not SECONDFPN or len(neck.deblocks) != len(stages):
        for channels in stages:
            channels.writers.clear()  # read by a part of another kind
        return
    prefix, head = part_of(model, 'bbox_head')
    start, readers, width = 0, readers_of_neck(model), sum(neck_widths(model))
    if head is None or any(
        key not in readers and _reads_maps_of(width, layer) for key, layer in head.named_modules()
    ):
        readers = []  # further layers may read the neck
    for number, (channels, width) in enumerate(zip(stages, neck_widths(model), strict=True)):
        path = f'{name}.deblocks.{number}'
        behind = walk.through(channels, path, neck.deblocks[number])
        behind.readers += [Reader(f'{prefix}.{reader}', start) for reader in readers]
        start += width


def _reads_maps_of(width: int, layer: nn.Module) -> bool:
    """Whether it is a convolution, maybe a deformable one, of maps of so many channels."""
    weight = getattr(layer, 'weight', None)
    is_conv2d = isinstance(weight, nn.Parameter) and weight.dim() == 4
    return is_conv2d and getattr(layer, 'in_channels', None) == width


def _branches(model: nn.Module, walk: _Walk) -> None:
    """Channels inside the rows of layers of the head."""
    prefix, head = part_of(model, 'bbox_head')
    seen: tuple[str, ...] = ()
    for name, row in head.named_modules() if head is not None else ():
        if type(row) is nn.Sequential and not name.startswith(seen):
            walk.through(_Channels(), f'{prefix}.{name}', row)
            seen += (f'{name}.',)
