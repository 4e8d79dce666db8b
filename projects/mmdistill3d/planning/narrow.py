"""A narrower or shallower detector out of a config: all widths scaled together."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.registry import MODELS

from mmdistill3d.planning.pair import PARTS

MULTIPLE = 8
"""Widths are multiples of this, for the kernels of GPUs and the heads of attention."""

_ALL_PARTS = ('voxel_encoder', *PARTS)
_POINT_NETS = ('HardVFE', 'DynamicVFE', 'PillarFeatureNet', 'DynamicPillarFeatureNet')
_MEANS = ('HardSimpleVFE', 'DynamicSimpleVFE')  # of a voxel's points: no weights
_SPARSE = ('SparseEncoder', 'PortableSparseEncoder', 'BEVFusionSparseEncoder')


def narrow(model: Mapping[str, Any], width: float = 1.0, depth: float = 1.0) -> dict[str, Any]:
    """Scale a detector's widths and depths, and return what changes in its config.

    Channels of voxel encoder, middle encoder, backbone, neck and head are scaled together, to
    multiples of :data:`MULTIPLE` and at least one; what each part reads follows from what the part
    before it gives. Depth counts the layers of a backbone's stage behind its first, the residual
    blocks of a sparse stage and the layers of a decoder, at least one each.

    Args:
        model: ``model`` of a detector's config.
        width: Factor of the channels, above 0 and at most 1.
        depth: Factor of the layers, likewise.

    Returns:
        The changed entries, to be merged into ``model``.

    Raises:
        ValueError: A factor is out of range, nothing changes, or a part has no rule.
    """
    for name, factor in (('width', width), ('depth', depth)):
        if not 0 < factor <= 1:
            raise ValueError(f'the factor of the {name} is above 0 and at most 1, got {factor}')
    _demand_rules(model)
    new = copy.deepcopy(dict(model))
    before: Any = None
    after: Any = None
    for name in _ALL_PARTS:
        key = _key(model, name)
        if key is None:
            continue
        old_part, part = model[key], new[key]
        rule = _RULES[_kind(old_part)]
        if before is not None and 'in_channels' in old_part:
            part['in_channels'] = _carried(old_part['in_channels'], before, after)
        given = rule(part, width, depth)
        if given is not None:
            before, after = _width(old_part, given), _width(part, given)
    changes = _changed(model, new)
    if not changes:
        raise ValueError(
            f'width {width} and depth {depth} change nothing: channels are multiples of {MULTIPLE}'
        )
    return changes


def scaled(channels: Any, factor: float) -> Any:
    """Scale channels, or all in a list of them, to multiples of :data:`MULTIPLE`."""
    if isinstance(channels, Sequence):
        return type(channels)(scaled(item, factor) for item in channels)
    if factor == 1:
        return channels
    return max(MULTIPLE, MULTIPLE * int(channels * factor / MULTIPLE + 0.5))


# ------------------------------------------------------------------ rules
# Each changes a part in place and returns the key that says how wide its result is; None where it
# is as wide as what it reads.


def _point_net(part: dict, width: float, depth: float) -> str:
    return _scale(part, 'feat_channels', width)


def _mean(part: dict, width: float, depth: float) -> None:
    return None


def _scatter(part: dict, width: float, depth: float) -> None:
    return None


def _sparse(part: dict, width: float, depth: float) -> str:
    _scale(part, 'base_channels', width)
    _scale(part, 'encoder_channels', width)
    stages, block_type = _value(part, 'encoder_channels'), _value(part, 'block_type')
    kept = [
        _kept_blocks(len(stage), block_type, number == len(stages), depth)
        for number, stage in enumerate(stages, start=1)
    ]
    for key in ('encoder_channels', 'encoder_paddings'):
        blocks = _value(part, key)
        left = (stage[which] for stage, which in zip(blocks, kept, strict=True))
        _set(part, key, type(blocks)(left))
    return _scale(part, 'output_channels', width)


def _second(part: dict, width: float, depth: float) -> str:
    numbers = _value(part, 'layer_nums')
    _set(part, 'layer_nums', type(numbers)(_fewer(number, depth) for number in numbers))
    return _scale(part, 'out_channels', width)


def _neck(part: dict, width: float, depth: float) -> str:
    return _scale(part, 'out_channels', width)


def _transfusion(part: dict, width: float, depth: float) -> None:
    _set(part, 'num_decoder_layers', _fewer(_value(part, 'num_decoder_layers'), depth))
    _scale(part, 'hidden_channel', width)
    layer = part['decoder_layer']
    for name, keys in (
        ('self_attn_cfg', ('embed_dims',)),
        ('cross_attn_cfg', ('embed_dims',)),
        ('ffn_cfg', ('embed_dims', 'feedforward_channels')),
        ('pos_encoding_cfg', ('num_pos_feats',)),
    ):
        for key in keys:
            if key in layer[name]:
                layer[name][key] = scaled(layer[name][key], width)


def _centre(part: dict, width: float, depth: float) -> None:
    _scale(part, 'share_conv_channel', width)
    _scale(part['separate_head'], 'head_conv', width)


def _anchor(part: dict, width: float, depth: float) -> None:
    part['feat_channels'] = part['in_channels']  # of the map that its convolutions read


_RULES: dict[str, Callable[[dict, float, float], str | None]] = {
    **dict.fromkeys(_POINT_NETS, _point_net),
    **dict.fromkeys(_MEANS, _mean),
    'PointPillarsScatter': _scatter,
    **dict.fromkeys(_SPARSE, _sparse),
    'SECOND': _second,
    'SECONDFPN': _neck,
    'FPN': _neck,
    'TransFusionHead': _transfusion,
    'CenterHead': _centre,
    'Anchor3DHead': _anchor,
}


def _kept_blocks(number: int, block_type: str, is_last: bool, depth: float) -> slice:
    """Which blocks of a sparse stage stay.

    A residual stage ends in the convolution that halves the grid, but for the last one; a plain
    stage begins with it.
    """
    if block_type == 'basicblock':
        ends = 0 if is_last else 1
        return slice(number - ends - _fewer(number - ends, depth), number)
    return slice(0, 1 + int((number - 1) * depth + 0.5))


def _fewer(number: int, depth: float) -> int:
    return max(1, int(number * depth + 0.5))


def _scale(part: dict, key: str, width: float) -> str:
    _set(part, key, scaled(_value(part, key), width))
    return key


def _set(part: dict, key: str, value: Any) -> None:
    if value != _value(part, key):
        part[key] = value


def _value(part: Mapping[str, Any], key: str) -> Any:
    """An entry of a part, or the default of its class."""
    return part[key] if key in part else _default(part, key)


def _default(part: Mapping[str, Any], key: str) -> Any:
    kind = MODELS.get(part['type']) or MODELS.get(f'mmdet3d.{part["type"]}')
    return inspect.signature(kind).parameters[key].default


def _carried(channels: Any, before: Any, after: Any) -> Any:
    """What a part reads of a part that gave ``before`` and now gives ``after`` channels.

    A part may read the concatenation of several maps, or a map whose heights are channels.
    """
    if isinstance(channels, Sequence):
        return type(channels)(after)
    if isinstance(before, Sequence):
        before, after = sum(before), sum(after)
    return channels * after // before


def _width(part: Mapping[str, Any], key: str) -> Any:
    """Channels that a part gives: those of the last of its point layers, or of each of its maps."""
    width = _value(part, key)
    return width[-1] if key == 'feat_channels' else width


def _demand_rules(model: Mapping[str, Any]) -> None:
    known = {key for name in _ALL_PARTS if (key := _key(model, name))}
    parts = {
        key: value
        for key, value in model.items()
        if isinstance(value, Mapping) and 'type' in value and key != 'data_preprocessor'
    }
    strange = [f'{key} ({part["type"]})' for key, part in parts.items() if key not in known]
    strange += [f'{key} ({model[key]["type"]})' for key in known if _kind(model[key]) not in _RULES]
    for key in known:
        inner = model[key].get('separate_head') or {}
        if _kind(inner) == 'DCNSeparateHead':
            strange.append(f'{key}.separate_head (DCNSeparateHead)')
    if strange:
        raise ValueError(
            f'there is no rule to narrow {", ".join(sorted(strange))}; there are rules for '
            f'{", ".join(_RULES)}. Write a student config by hand, and give it as --student'
        )


def _key(model: Mapping[str, Any], name: str) -> str | None:
    return next((key for key in (f'pts_{name}', name) if model.get(key)), None)


def _kind(part: Mapping[str, Any]) -> str:
    return str(part.get('type')).rpartition('.')[2]


def _changed(old: Any, new: Any) -> Any:
    """Entries of ``new`` that ``old`` has otherwise, or not at all."""
    changes = {}
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(old.get(key), Mapping):
            if inner := _changed(old[key], value):
                changes[key] = inner
        elif key not in old or old[key] != value:
            changes[key] = value
    return changes
