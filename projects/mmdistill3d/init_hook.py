"""Starts a 3D detector from a wider one."""

from __future__ import annotations

import copy
import logging
from typing import Any

from mmengine.logging import print_log
from mmengine.registry import HOOKS
from torch import nn

from mmdistill.axes import is_norm
from mmdistill.channel_order import ChannelGroup, sort_channels
from mmdistill.hooks import TeacherInitHook
from mmdistill3d.channel_groups import channel_groups, further_parts
from mmdistill3d.class_rows import add_classes
from mmdistill3d.images import other_images
from mmdistill3d.parts import (
    depth_of_map,
    first_backbone_conv,
    neck_widths,
    part_of,
    readers_of_neck,
)
from mmdistill3d.reading import bev_axes


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

    Of a wider layer the student gets the channels that contribute most, so that its channel ``i``
    is another one than the teacher's: the first ones of a copy of the teacher, sorted
    (:func:`~mmdistill.channel_order.sort_channels`) as far as it is known who reads them
    (:func:`~mmdistill3d.channel_groups.channel_groups`); otherwise the teacher's first.

    Config lines::

        custom_hooks = [dict(type='DistillHook'), dict(type='Det3DInitHook')]
        custom_hooks = [dict(type='DistillHook'), dict(type='Det3DInitHook', channels='first')]

    Args:
        channels: Which of the teacher's channels a narrower student gets: ``'important'``,
            ``'first'``, or None for important ones where it is known who reads them, which the log
            says.
        **kwargs: Those of :class:`~mmdistill.hooks.TeacherInitHook`.
    """

    def __init__(self, *args: Any, channels: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if channels not in (None, 'first', 'important'):
            raise ValueError(f"channels is None, 'first' or 'important', not {channels!r}")
        self.channels = channels
        # Heights of a compressed map, as this hook calls them.
        self.grouped_inputs = {
            layer: {'inner' if key == 'depth' else key: value for key, value in layout.items()}
            for layer, layout in self.grouped_inputs.items()
        }

    def source(self, student: nn.Module, teacher: nn.Module) -> nn.Module:
        """Return the teacher, or a copy with the channels sorted that a student gets a part of.

        Raises:
            ValueError: The config asks for important ones, and nobody knows who reads them.
        """
        if self.channels == 'first':
            return teacher
        further = further_parts(teacher)
        groups = [] if further else channel_groups(teacher)
        if not groups:
            parts = f'what its {further} read' if further else 'who reads the channels of its parts'
            why = f'it is not known of {type(teacher).__name__} {parts}'
            if self.channels == 'important':
                raise ValueError(f"{why}: take channels='first'")
            print_log(f'channels are taken in their order, as {why}', logger='current')
            return teacher
        groups = [group for group in groups if not _is_whole(student, teacher, group)]
        if not groups:
            return teacher
        teacher = copy.deepcopy(teacher)
        sort_channels(teacher, groups)
        parts = sorted({writer.layer.partition('.')[0] for g in groups for writer in g.writers})
        print_log(
            f'{len(groups)} groups of channels are sorted by importance, in {", ".join(parts)}; '
            'the others are taken in their order',
            logger='current',
        )
        return teacher

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
        different = other_images(student, teacher)
        if different is not None:
            print_log(
                f"the student's images have {different}: the first convolution gets weights that "
                "were trained on others; give the student the teacher's data_preprocessor",
                logger='current',
                level=logging.WARNING,
            )
        derived: dict[str, Any] = dict(grouped_inputs={}, names={}, exclude={}, outputs={})
        _add_height_compression(derived, student, teacher)
        _add_concatenation(derived, student, teacher)
        _add_ends_of_stages(derived, student, teacher)
        _add_heights(derived, student, teacher)
        add_classes(derived, student, teacher)
        return derived


def _is_whole(student: nn.Module, teacher: nn.Module, group: ChannelGroup) -> bool:
    """Whether a student writes as many channels as a group of its teacher's has.

    Where it lacks all of the group's writers, it still may read a part of the channels.
    """
    mine, theirs = dict(student.named_modules()), dict(teacher.named_modules())
    return any(
        len(mine[writer.norm].weight) == len(theirs[writer.norm].weight)
        for writer in group.writers
        if is_norm(mine.get(writer.norm))
    )


def _add_height_compression(derived: dict, student: nn.Module, teacher: nn.Module) -> None:
    name, mine = first_backbone_conv(student)
    _, theirs = first_backbone_conv(teacher)
    depths = [depth_of_map(model, conv) for model, conv in ((student, mine), (teacher, theirs))]
    if None in depths:
        return
    if depths[0] == depths[1]:
        derived['grouped_inputs'][name] = dict(inner=depths[0])
    else:
        derived['exclude'][name] = 'reads a map of other heights than the teacher does'


def _add_concatenation(derived: dict, student: nn.Module, teacher: nn.Module) -> None:
    mine, theirs = neck_widths(student), neck_widths(teacher)
    prefix, _ = part_of(student, 'bbox_head')
    if not (mine and theirs):
        return
    for name in readers_of_neck(student):
        if len(mine) == len(theirs):
            derived['grouped_inputs'][f'{prefix}.{name}'] = dict(student=mine, teacher=theirs)
        else:
            derived['exclude'][f'{prefix}.{name}'] = 'reads other maps than the teacher does'


def _add_heights(derived: dict, student: nn.Module, teacher: nn.Module) -> None:
    """Leave out what codes the height of a box where it is that of something else of it."""
    prefix, head = part_of(student, 'bbox_head')
    heights = [
        getattr(getattr(side, 'bbox_coder', None), 'height_of', None)
        for side in (head, part_of(teacher, 'bbox_head')[1])
    ]
    if None in heights or heights[0] == heights[1]:
        return
    for number in range(len(head.prediction_heads)):
        derived['exclude'][f'{prefix}.prediction_heads.{number}.height'] = (
            f"its heights are those of a box's {heights[0]}, the teacher's of its {heights[1]}"
        )


def _add_ends_of_stages(derived: dict, student: nn.Module, teacher: nn.Module) -> None:
    name, mine = part_of(student, 'middle_encoder')
    _, theirs = part_of(teacher, 'middle_encoder')
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
