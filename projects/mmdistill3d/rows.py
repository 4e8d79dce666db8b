"""What the rows of detectors' and segmentors' layers stand for: points, votes, queries, voxels."""

from __future__ import annotations

import inspect

from mmdet3d.models import EncoderDecoder3D, GroupFree3DHead, VoteHead
from mmdet3d.models.backbones import MultiBackbone, PointNet2SAMSG, PointNet2SASSG
from mmdet3d.models.layers import PointFPModule
from mmdet3d.models.layers.pointnet_modules.point_sa_module import BasePointSAModule
from mmdet3d.models.middle_encoders import VoxelSetAbstraction
from mmdet3d.models.necks import PointNetFPNeck
from torch import nn

from mmdistill.reading import ModuleInputs, ModuleOutputs, Recorder, register_pass, register_rows
from mmdistill.reading.address import LayerAddress, find_module

_SEEDS = ('seed_', 'seeds_', 'vote_')  # how their outputs by seed begin
_QUERIES = {VoteHead: 'aggregated_points', GroupFree3DHead: 'query_points_xyz'}
_PYRAMIDS = (PointNet2SASSG, PointNet2SAMSG, PointNetFPNeck, MultiBackbone)
# Modules of those heads that see the seeds, in front of the choice of queries.
_IN_FRONT = ('vote_module', 'points_obj_cls', 'gsample_module')


@register_pass
def point_segmentor_pass(model: nn.Module) -> str | None:
    """Segmentors on points predict their clouds one by one, some of them in windows."""
    return 'tensor' if isinstance(model, EncoderDecoder3D) else None


@register_rows
def point_rows(model: nn.Module, recorder: Recorder) -> Recorder | None:
    """Return the positions of the points that the rows of a layer describe.

    Points are sampled by distance, which two models may do alike, or by features, which they never
    do; votes and queries are sampled from those.
    """
    if not isinstance(recorder, ModuleOutputs):
        return None
    address = recorder.address(model)
    for head, queries in _QUERIES.items():
        for path in _path_and_parents(address.module):
            if isinstance(find_module(model, path), head):
                return _rows_in_head(address, path, queries)
    module, key = find_module(model, address.module), address.selectors[:1]
    if isinstance(module, BasePointSAModule) and key == (1,):
        return _output(address.module, 0)
    if isinstance(module, PointFPModule):
        return ModuleInputs(f'{address.module}[target]')
    if isinstance(module, MultiBackbone) and key == ('hd_feature',):
        return _output(address.module, f'fp_xyz_{module.suffixes[0]}', -1)
    if isinstance(module, _PYRAMIDS) and 'features' in str(key):
        points = key[0].replace('features', 'xyz')
        return _output(address.module, points, *address.selectors[1:])
    if isinstance(module, VoxelSetAbstraction) and key:
        return _output(address.module, 'keypoints')
    return None


@register_rows
def voxel_rows(model: nn.Module, recorder: Recorder) -> Recorder | None:
    """Return the cells of the voxels whose features an encoder returns row by row."""
    if not isinstance(recorder, ModuleOutputs):
        return None
    address = recorder.address(model)
    if not address.module.endswith('voxel_encoder') or address.selectors[:1] not in ((), (0,)):
        return None
    takes = inspect.signature(find_module(model, address.module).forward).parameters
    if address.selectors == (0,):
        return _output(address.module, 1)
    return ModuleInputs(f'{address.module}[coors]') if 'coors' in takes else None


@register_rows
def transfusion_rows(model: nn.Module, recorder: Recorder) -> str | None:
    """Object queries begin at the peaks of each model's own heatmap."""
    if not isinstance(recorder, (ModuleOutputs, ModuleInputs)):
        return None
    address = recorder.address(model)
    for path in _path_and_parents(address.module):
        head = find_module(model, path)
        if not (hasattr(head, 'class_encoding') and hasattr(head, 'heatmap_head')):
            continue
        inside = address.module[len(path) + 1 :].split('.')[0]
        of_queries = ('decoder', 'prediction_heads', 'class_encoding')
        is_output = not inside and 'dense_heatmap' not in address.selectors
        if inside in of_queries or is_output:
            return (
                f'the rows of {recorder} are object queries, which begin where each model sees '
                'objects; TransFusionKDLoss matches them'
            )
    return None


def _rows_in_head(address: LayerAddress, head: str, queries: str) -> Recorder | None:
    """Seeds, or queries, of a layer in a head that votes or attends."""
    inside = address.module[len(head) + 1 :].split('.')[0]
    key = str(next(iter(address.selectors), ''))
    if inside == 'vote_module':
        return _output(head, 'seed_points')
    is_of_seeds = inside in _IN_FRONT or (not inside and key.startswith(_SEEDS))
    return _output(head, 'seed_points' if is_of_seeds else queries)


def _output(module: str, *selectors: str | int) -> ModuleOutputs:
    return ModuleOutputs(str(LayerAddress(module, selectors)))


def _path_and_parents(path: str) -> list[str]:
    """``a.b.c``, ``a.b``, ``a``."""
    parts = path.split('.')
    return ['.'.join(parts[:length]) for length in range(len(parts), 0, -1)]
