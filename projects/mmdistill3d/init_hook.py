"""Starts a 3D detector from a wider one."""

from __future__ import annotations

from typing import Any

from mmengine.registry import HOOKS
from torch import nn
from torch.nn.modules.conv import _ConvNd

from mmdistill.hooks import TeacherInitHook
from mmdistill3d.class_rows import add_classes
from mmdistill3d.reading import bev_axes

# Layers of mmdet3d's and our heads that read the neck: centre heads, TransFusion, anchor heads.
_READ_THE_NECK = ('shared_conv', 'shared_conv.conv', 'conv_cls', 'conv_reg', 'conv_dir_cls')


@HOOKS.register_module()
class Det3DInitHook(TeacherInitHook):
    """A :class:`~mmdistill.hooks.TeacherInitHook` that knows how 3D detectors join their layers.

    Read off the two models, so that nothing of it stands in the config:

    - the backbone's first convolution reads ``C * D`` channels of the height-compressed map,
      channel ``c`` at height ``d`` being ``c * D + d``: the first ``c``, at all heights;
    - the head reads the maps that ``SECONDFPN`` concatenates: the first channels of each;
    - the last block of a stage of the sparse encoder halves the grid; it is inherited also where
      the student's stage has fewer residual blocks, and it bears another number;
    - what a head says of classes is inherited by their names, whatever their order. Classes that
      the teacher does not know keep the student's initialisation, and so do all where the names of
      either side are not known, or a head's boxes depend on its classes; the log says so.

    Config lines::

        custom_hooks = [dict(type='DistillHook'), dict(type='Det3DInitHook')]

    Args:
        **kwargs: Those of :class:`~mmdistill.hooks.TeacherInitHook`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Heights of a compressed map, as this hook calls them.
        self.grouped_inputs = {
            layer: {'inner' if key == 'depth' else key: value for key, value in layout.items()}
            for layer, layout in self.grouped_inputs.items()
        }

    def correspondence(self, student: nn.Module, teacher: nn.Module) -> dict[str, Any]:
        """Return the layouts, names and classes above for two detectors.

        Raises:
            ValueError: Their maps have axes in another order.
        """
        axes = bev_axes(student), bev_axes(teacher)
        if axes[0] != axes[1]:
            raise ValueError(
                f'Det3DInitHook: the maps of the student ({type(student).__name__}) are {axes[0]}, '
                f'those of the teacher ({type(teacher).__name__}) {axes[1]}, so that their kernels '
                "do not fit. Use type='TeacherInitHook' with exclude=[...]"
            )
        derived: dict[str, Any] = dict(grouped_inputs={}, names={}, exclude={}, outputs={})
        _add_height_compression(derived, student, teacher)
        _add_concatenation(derived, student, teacher)
        _add_ends_of_stages(derived, student, teacher)
        add_classes(derived, student, teacher)
        return derived


def _add_height_compression(derived: dict, student: nn.Module, teacher: nn.Module) -> None:
    name, mine = _first_backbone_conv(student)
    _, theirs = _first_backbone_conv(teacher)
    depths = [_depth(model, conv) for model, conv in ((student, mine), (teacher, theirs))]
    if None in depths:
        return
    if depths[0] == depths[1]:
        derived['grouped_inputs'][name] = dict(inner=depths[0])
    else:
        derived['exclude'][name] = 'reads a map of other heights than the teacher does'


def _add_concatenation(derived: dict, student: nn.Module, teacher: nn.Module) -> None:
    mine, theirs = _neck_widths(student), _neck_widths(teacher)
    prefix, head = _part(student, 'bbox_head')
    if not (mine and theirs and head is not None):
        return
    for name in _READ_THE_NECK:
        layer = dict(head.named_modules()).get(name)
        if not isinstance(layer, _ConvNd) or layer.in_channels != sum(mine):
            continue
        if len(mine) == len(theirs):
            derived['grouped_inputs'][f'{prefix}.{name}'] = dict(student=mine, teacher=theirs)
        else:
            derived['exclude'][f'{prefix}.{name}'] = 'reads other maps than the teacher does'


def _add_ends_of_stages(derived: dict, student: nn.Module, teacher: nn.Module) -> None:
    name, mine = _part(student, 'middle_encoder')
    _, theirs = _part(teacher, 'middle_encoder')
    mine = dict(getattr(mine, 'encoder_layers', nn.Module()).named_children())
    theirs = dict(getattr(theirs, 'encoder_layers', nn.Module()).named_children())
    for stage in [stage for stage in mine if stage in theirs]:
        ends = [list(blocks.named_children())[-1] for blocks in (mine[stage], theirs[stage])]
        (own_number, own_end), (number, end) = ends
        # A stage that ends in a residual block has no convolution that halves the grid.
        is_residual = type(end) is type(next(theirs[stage].children()))
        if own_number != number and type(own_end) is type(end) and not is_residual:
            path = f'{name}.encoder_layers.{stage}'
            derived['names'][f'{path}.{own_number}'] = f'{path}.{number}'


def _part(model: nn.Module, name: str) -> tuple[str, nn.Module | None]:
    """A detector's part and its name there; MMDetection3D writes some with ``pts_``."""
    for full_name in (f'pts_{name}', name):
        if getattr(model, full_name, None) is not None:
            return full_name, getattr(model, full_name)
    return name, None


def _first_backbone_conv(model: nn.Module) -> tuple[str, nn.Module | None]:
    prefix, backbone = _part(model, 'backbone')
    for name, layer in backbone.named_modules() if backbone is not None else ():
        if isinstance(layer, _ConvNd):
            return f'{prefix}.{name}', layer
    return prefix, None


def _depth(model: nn.Module, conv: nn.Module | None) -> int | None:
    """Heights in the map that the sparse encoder hands to the backbone."""
    channels = getattr(_part(model, 'middle_encoder')[1], 'output_channels', None)
    if conv is None or not channels or conv.in_channels % channels:
        return None
    return conv.in_channels // channels


def _neck_widths(model: nn.Module) -> tuple[int, ...]:
    """Channels of each map that the neck concatenates."""
    deblocks = getattr(_part(model, 'neck')[1], 'deblocks', ())
    convs = [next(m for m in block.modules() if isinstance(m, _ConvNd)) for block in deblocks]
    return tuple(conv.out_channels for conv in convs)
