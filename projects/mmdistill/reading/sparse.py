"""What a sparse tensor is, for spconv's and for mmcv's, of which this package imports neither."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

# Packages whose sparse tensors are known, and may be named in files of a teacher's cache.
_PACKAGES = ('spconv', 'mmcv')


def is_sparse(value: Any) -> bool:
    """Whether a value is a sparse tensor: rows of features and the cells in which they lie.

    A sparse tensor has ``features`` ``(M, C)``, ``indices`` ``(M, 1 + axes)`` (sample and cell),
    ``spatial_shape`` and ``batch_size``. spconv's and mmcv's ``SparseConvTensor`` are such.
    """
    return (
        type(value).__module__.partition('.')[0] in _PACKAGES
        and isinstance(getattr(value, 'features', None), Tensor)
        and isinstance(getattr(value, 'indices', None), Tensor)
    )


def replace_features(value: Any, features: Tensor) -> Any:
    """Return a sparse tensor with the cells of ``value`` and other features, ``(M, C')``."""
    replace = getattr(value, 'replace_feature', None)
    if replace is not None:
        return replace(features)
    new = type(value)(features, value.indices, value.spatial_shape, value.batch_size, value.grid)
    new.indice_dict = value.indice_dict
    return new


def pack_sparse(value: Any) -> dict[str, Any]:
    """Return the tensors and numbers of a sparse tensor, in types that torch's safe loader reads.

    The pairs that convolutions keep (``indice_dict``) are left out: a later one finds them again.
    """
    kind = type(value)
    return {
        'sparse_type': f'{kind.__module__}:{kind.__qualname__}',
        'features': value.features,
        'indices': value.indices,
        'spatial_shape': [int(size) for size in value.spatial_shape],
        'batch_size': int(value.batch_size),
    }


def is_packed_sparse(value: Any) -> bool:
    """Whether a value is what :func:`pack_sparse` returned."""
    return isinstance(value, dict) and 'sparse_type' in value


def unpack_sparse(packed: dict[str, Any]) -> Any:
    """Return the sparse tensor that :func:`pack_sparse` packed.

    Raises:
        ValueError: It names a type outside the packages whose sparse tensors are known.
    """
    module, _, name = packed['sparse_type'].partition(':')
    if module.partition('.')[0] not in _PACKAGES:
        raise ValueError(f'{packed["sparse_type"]} is no known type of sparse tensors')
    kind = getattr(importlib.import_module(module), name)
    return kind(
        packed['features'], packed['indices'], packed['spatial_shape'], packed['batch_size']
    )


def pool_sparse(value: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean and maximum over the active cells of each sample, ``(B, C)``; zeros without cells."""
    values = value.features.to(dtype)
    sample = value.indices[:, 0].long()[:, None].expand_as(values)
    shape = (value.batch_size, values.shape[1])
    mean = values.new_zeros(shape).scatter_reduce(0, sample, values, 'mean', include_self=False)
    peak = values.new_zeros(shape).scatter_reduce(0, sample, values, 'amax', include_self=False)
    return mean, peak
