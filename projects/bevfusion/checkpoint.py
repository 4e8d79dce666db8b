"""Weights in the naming of other BEVFusion code bases, for the LiDAR detector."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .height_tag import HEIGHT_TAG
from .kernel_layout import fitting_layouts, layouts_of_file
from .sparse_ops import SparseConv3d, SubMConv3d

MIT, MMDET3D = 'mit-han-lab/bevfusion', 'MMDetection3D'

# Parts of the detector: prefix there, prefix here.
_PARTS = {
    MIT: {
        'encoders.lidar.backbone.': 'pts_middle_encoder.',
        'decoder.backbone.': 'pts_backbone.',
        'decoder.neck.': 'pts_neck.',
        'heads.object.': 'bbox_head.',
    },
    MMDET3D: {
        part: part for part in ('pts_middle_encoder.', 'pts_backbone.', 'pts_neck.', 'bbox_head.')
    },
}
# Parts that a LiDAR detector does not have.
_OTHER_PARTS = {
    MIT: ('encoders.camera.', 'encoders.radar.', 'fuser.', 'heads.map.'),
    MMDET3D: ('img_backbone.', 'img_neck.', 'view_transform.', 'vtransform.', 'fusion_layer.'),
}
_FUSERS = ('fuser.', 'fusion_layer.')
# Inside a decoder layer of the head, mit-han-lab/bevfusion's names and MMDetection3D's.
_DECODER_NAMES = {
    r'self_attn\.': 'self_attn.attn.',
    r'multihead_attn\.': 'cross_attn.attn.',
    r'linear1\.': 'ffn.layers.0.0.',
    r'linear2\.': 'ffn.layers.1.',
    r'norm1\.': 'norms.0.',
    r'norm2\.': 'norms.1.',
    r'norm3\.': 'norms.2.',
}
_LISTED = 20  # keys of each kind that are written out


@dataclass(frozen=True)
class Conversion:
    """A checkpoint's weights under the detector's names, and what became of each key.

    Args:
        naming: Code base whose names the file has: ``MIT`` or ``MMDET3D``.
        state_dict: The weights, under the detector's names; kernels as (out, kx, ky, kz, in).
        sources: Key in the detector to key in the file.
        left_out: Keys of the file that belong to parts a LiDAR detector does not have.
        unknown: Keys of the file that no part of the model has.
        missing: Keys of the model that the file does not have.
        mismatched: Keys of the model, with both shapes, for which the file has another shape.
        kernel_layouts: Axis orders that the file's sparse kernels can have.
    """

    naming: str
    state_dict: OrderedDict
    sources: dict[str, str]
    left_out: list[str]
    unknown: list[str]
    missing: list[str]
    mismatched: list[str]
    kernel_layouts: list[str]

    @property
    def is_whole(self) -> bool:
        """Whether every parameter of the model was found, in its shape, and no other."""
        return not (self.unknown or self.missing or self.mismatched)

    @property
    def was_fused(self) -> bool:
        """Whether the file is a LiDAR-camera detector's: what follows its fuser saw fused maps."""
        return any(key.startswith(_FUSERS) for key in self.left_out)

    def describe(self, source: str) -> str:
        """What became of every key, as text.

        Args:
            source: Name of the file.
        """
        mapped = Counter((_part(old), _part(new)) for new, old in self.sources.items())
        lines = [
            f'{source}: naming of {self.naming}, '
            f'sparse kernels ({") or (".join(self.kernel_layouts)})',
            f'mapped ({len(self.sources)}):',
            *(f'  {old}.* -> {new}.*: {number}' for (old, new), number in mapped.items()),
        ]
        left = Counter(_part(key) for key in self.left_out)
        lines += [f'left out, no part of a LiDAR detector ({len(self.left_out)}):']
        lines += [f'  {part}.*: {number}' for part, number in left.items()] or ['  none']
        for title, keys in (
            ('missing in the file', self.missing),
            ('unknown to the model', self.unknown),
            ('other shape', self.mismatched),
        ):
            more = [f'  ... and {len(keys) - _LISTED} more'] if len(keys) > _LISTED else []
            lines += [f'{title} ({len(keys)}):', *(f'  {key}' for key in keys[:_LISTED]), *more]
        if self.naming == MIT:
            lines += [
                'Boxes: of sizes (width, length, height) and headings (-yaw - pi / 2), turned into '
                "MMDetection3D's in the weights. Heights are of the tops of boxes, as "
                "bbox_coder.height_of='top' of the config says."
            ]
        if self.was_fused:
            lines += [
                'NOTE: this is a LiDAR-camera detector. Its encoder sees points alone and is used '
                'as it is; its backbone, neck and head were trained on fused maps, which a LiDAR '
                'detector does not have. Take them as a start for fine-tuning, not for evaluation '
                'and not as a teacher.'
            ]
        return '\n'.join(lines)

    def save(self, path: Path, source: str, allow_missing: bool = False) -> None:
        """Write the weights, as ``load_from`` and the test tools take them.

        Args:
            path: File to write; its folder is made.
            source: Name of the file that they come from.
            allow_missing: Write them although they are not the whole model.

        Raises:
            ValueError: The file does not fit the model, and that is not allowed.
        """
        if not self.is_whole and not allow_missing:
            raise ValueError(
                f'Nothing was written: {source} does not fit the config (see missing, unknown and '
                'other shape above). Name the config it was trained with by --config, or write '
                'what does fit by --allow-missing.'
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        meta = {'source': Path(source).name, 'naming': self.naming}
        torch.save({'meta': meta, 'state_dict': self.state_dict}, path)


def convert_weights(weights: Mapping[str, Tensor], model: nn.Module) -> Conversion:
    """Find a LiDAR detector's weights in a checkpoint of mit-han-lab/bevfusion or MMDetection3D.

    Args:
        weights: ``state_dict`` of the file, of a LiDAR or of a LiDAR-camera detector; keys may
            begin with ``module.``.
        model: The detector; gets the weights that fit.

    Raises:
        ValueError: The file has neither naming, or heights of boxes that the model does not read.
    """
    tags = getattr(weights, '_metadata', {})
    tags = {name.removeprefix('module.'): tag for name, tag in tags.items()}
    weights = {key.removeprefix('module.'): value for key, value in weights.items()}
    naming = naming_of(weights)
    renamed, left_out, unknown = {}, [], []
    own = model.state_dict()
    for key in weights:
        new = rename(key, naming)
        if new in own:
            renamed[new] = key
        elif key.startswith(_OTHER_PARTS[naming]):
            left_out.append(key)
        else:
            unknown.append(key)
    layers = _sparse_layers(model)
    mismatched = [
        f'{new}: the file has {tuple(weights[old].shape)}, the model {tuple(own[new].shape)}'
        for new, old in renamed.items()
        if not _fits(new, weights[old], own[new], layers)
    ]
    wrong = {line.partition(':')[0] for line in mismatched}
    fitting = OrderedDict((new, weights[old]) for new, old in renamed.items() if new not in wrong)
    fitting._metadata = {
        new.rpartition('.')[0]: tags.get(old.rpartition('.')[0], {}) for new, old in renamed.items()
    }
    if naming == MIT:
        _turn_boxes(fitting)
        fitting._metadata['bbox_head'] = {HEIGHT_TAG: 'top'}
    model.load_state_dict(fitting, strict=False)
    loaded = model.state_dict()
    # The model's version tags go along: MMDetection3D's loader needs them to leave kernels alone.
    state_dict = OrderedDict((key, loaded[key]) for key in loaded if key in fitting)
    state_dict._metadata = loaded._metadata
    return Conversion(
        naming=naming,
        state_dict=state_dict,
        sources=renamed,
        left_out=left_out,
        unknown=unknown,
        # Files of torch < 0.4.1 lack these counters, which matter to norms without momentum only.
        missing=[k for k in own if k not in renamed and not k.endswith('num_batches_tracked')],
        mismatched=mismatched,
        kernel_layouts=layouts_of_file(
            {
                key: (weights[renamed[key]].shape, layer.weight.shape)
                for key, layer in layers.items()
                if key in renamed
            }
        ),
    )


def rename(key: str, naming: str) -> str | None:
    """A key's name in the detector, or None for a part that the detector does not have.

    Args:
        key: Name in the file.
        naming: ``MIT`` or ``MMDET3D``.
    """
    for there, here in _PARTS[naming].items():
        if key.startswith(there):
            name = here + key.removeprefix(there)
            return _rename_in_decoder(name) if naming == MIT else name
    return None


def _turn_boxes(weights: OrderedDict) -> None:
    """Let a head of mit-han-lab/bevfusion, in place, size and turn boxes as MMDetection3D does.

    Its data set has boxes of (width, length, height) and the yaw ``-yaw - pi / 2``, whose sine is
    ``-cos(yaw)`` and whose cosine ``-sin(yaw)``.
    """
    for key, value in weights.items():
        found = re.fullmatch(r'bbox_head\.prediction_heads\.\d+\.(dim|rot)\.\d+\.\w+', key)
        if found:
            weights[key] = value[[1, 0, 2]] if found[1] == 'dim' else -value[[1, 0]]


def _rename_in_decoder(key: str) -> str:
    for there, here in _DECODER_NAMES.items():
        new, found = re.subn(rf'^(bbox_head\.decoder\.\d+\.){there}', rf'\g<1>{here}', key)
        if found:
            return new
    return key


def naming_of(weights: Mapping[str, Tensor]) -> str:
    """Return the naming under which a file has more keys of the LiDAR detector.

    Raises:
        ValueError: It has none.
    """
    counts = {
        naming: sum(key.removeprefix('module.').startswith(tuple(parts)) for key in weights)
        for naming, parts in _PARTS.items()
    }
    naming = max(counts, key=counts.__getitem__)
    if counts[naming] == 0:
        some = ', '.join(list(weights)[:5])
        raise ValueError(
            f'the file has no LiDAR detector: none of its {len(weights)} keys ({some}, ...) begins '
            f'with {sorted(_PARTS[MIT])} ({MIT}) or {sorted(_PARTS[MMDET3D])} ({MMDET3D})'
        )
    return naming


def _sparse_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Key of each sparse kernel to its layer."""
    return {
        f'{name}.weight': layer
        for name, layer in model.named_modules()
        if isinstance(layer, (SubMConv3d, SparseConv3d))
    }


def _fits(key: str, given: Tensor, own: Tensor, layers: Mapping[str, nn.Module]) -> bool:
    if key in layers:
        return bool(fitting_layouts(given.shape, own.shape))
    return given.shape == own.shape


def _part(key: str) -> str:
    """The leading names of a key that say which part of a detector it belongs to."""
    names = key.split('.')
    depth = {'encoders': 3, 'decoder': 2, 'heads': 2}.get(names[0], 1)
    return '.'.join(names[: min(depth, len(names) - 1)])
