"""Keeps what a teacher computes, so that runs on the same batches compute it once."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmdistill.reading.address import describe
from mmdistill.reading.recorders import Recorder
from mmdistill.reading.sparse import is_packed_sparse, is_sparse, pack_sparse, unpack_sparse
from mmdistill.utils.files import written_whole

LEFT_FREE = 4 << 30
"""Bytes of the disk that a cache leaves to checkpoints and others."""


class TeacherCache:
    """What a teacher's layers returned for a batch, in files named by the batch's content.

    Runs of one seed see the same batches, whatever their links: an ablation of losses needs the
    teacher's pass once. A batch that differs in one number has another name, so a wrong feature is
    never read; with random augmentation and another seed nothing is found, and every batch
    costs the time and the disk to store it. Where less than :data:`LEFT_FREE` is free, nothing more
    is stored, and the log says so.

    Args:
        folder: Where the files lie; the teacher's fingerprint should be a part of it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def key(self, batch: Any, device: torch.device | str = 'cpu') -> str:
        """Return the name of a batch: a hash of all in it, annotations too, and of autocast.

        Args:
            batch: Tensors, arrays, samples' meta information and plain values in containers.
            device: Where the teacher computes.
        """
        digest = hashlib.blake2b(digest_size=16)
        digest.update(f'autocast {_autocast_dtype(device) or False}'.encode())
        _update(digest, batch)
        return digest.hexdigest()

    def read(
        self, key: str, layers: Iterable[Recorder], device: torch.device | str = 'cpu'
    ) -> dict[Recorder, Any] | None:
        """Return the values of all layers on a device, or None where one is not there."""
        paths = {layer: self._path(key, layer) for layer in layers}
        if not all(path.exists() for path in paths.values()):
            return None
        return {
            layer: _unpack(torch.load(path, map_location=device, weights_only=True))
            for layer, path in paths.items()
        }

    def write(self, key: str, values: dict[Recorder, Any]) -> None:
        """Store tensors, sparse tensors and structures of both, as long as the disk has room.

        Raises:
            ValueError: A layer returned something else, with which no batch could be stored.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self.folder).free < LEFT_FREE:
            _say_full(self.folder)
            return
        for layer, value in values.items():
            path = self._path(key, layer)
            if path.exists():
                continue
            packed = _pack(value, layer)
            with written_whole(path) as partial:
                torch.save(packed, partial)

    def _path(self, key: str, layer: Recorder) -> Path:
        name = hashlib.blake2b(repr(layer).encode(), digest_size=6).hexdigest()
        return self.folder / f'{key}_{name}.pt'


@cache
def _say_full(folder: Path) -> None:
    print_log(
        f"the teacher's cache {folder} stores nothing more: less than {LEFT_FREE / 2**30:.0f} GiB "
        'of its disk are free, which are left to others. The teacher computes what is not there; '
        'remove the caches of finished runs, or name another disk',
        'current',
        logging.WARNING,
    )


def _autocast_dtype(device: torch.device | str) -> torch.dtype | None:
    """The type that autocast computes in on a device, whatever torch calls that; None without."""
    probe = torch.ones(1, 1, device=device)
    dtype = (probe @ probe).dtype
    return None if dtype == probe.dtype else dtype


def _update(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        digest.update(f'{value.shape}{value.dtype}'.encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, BaseDataElement):
        _update(digest, dict(value.all_items()))
    elif isinstance(value, dict):
        # Samples keep their fields in a set, whose order is another in each process.
        for key, item in sorted(value.items(), key=lambda pair: str(pair[0])):
            digest.update(f'{key}:'.encode())
            _update(digest, item)
    elif isinstance(value, (list, tuple)):
        digest.update(f'{len(value)} items'.encode())
        for item in value:
            _update(digest, item)
    elif hasattr(value, '__dict__') and not isinstance(value, type):
        # Boxes, masks and the like: their text shows a part of their numbers.
        _update(digest, dict(vars(value), type=type(value)))
    else:
        digest.update(repr(value).encode())


def _pack(value: Any, layer: Recorder) -> Any:
    """Return a value in types that torch's safe loader reads."""
    if isinstance(value, dict) and not is_packed_sparse(value):
        return {key: _pack(item, layer) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_pack(item, layer) for item in value)
    if is_sparse(value):
        return pack_sparse(value)
    if value is None or isinstance(value, (Tensor, int, float, str)):
        return value
    raise ValueError(
        f"the teacher's cache keeps tensors and structures of them, but {layer} is "
        f'{describe(value)}: choose a part of it by a selector, or remove teacher.cache'
    )


def _unpack(value: Any) -> Any:
    if is_packed_sparse(value):
        return unpack_sparse(value)
    if isinstance(value, dict):
        return {key: _unpack(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_unpack(item) for item in value)
    return value
