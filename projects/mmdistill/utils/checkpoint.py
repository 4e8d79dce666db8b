"""Reading MMEngine checkpoints with torch's safe loader."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read checkpoints that MMEngine's runner saved.

    They hold the message hub: ``HistoryBuffer`` objects with numpy arrays. MMEngine 0.10 calls
    ``torch.load`` with torch's default, which is ``weights_only=True`` since torch 2.6, so
    resuming fails without this. Only data types are added to torch's list, and a ``getattr`` that
    knows nothing but ``HistoryBuffer``'s own methods.
    """
    core = np.core if np.lib.NumpyVersion(np.__version__) < '2.0.0' else np._core
    number_types = ('f2', 'f4', 'f8', 'i4', 'i8', 'u4', 'u8', '?')
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            np.ndarray,
            np.dtype,
            core.multiarray._reconstruct,
            core.multiarray.scalar,
            *{type(np.dtype(kind)) for kind in number_types},
            (_history_buffer_method, 'builtins.getattr'),
        ]
    )


def load_weights(path: str) -> dict[str, Any]:
    """Load a checkpoint to the CPU from a path or URL that MMEngine's loader knows.

    Returns:
        The checkpoint's dict; its weights are under ``'state_dict'``.

    Raises:
        FileNotFoundError: A local file that does not exist.
        ValueError: A file that is no checkpoint, or is cut short.
    """
    is_local = '://' not in str(path)
    if is_local and not Path(path).is_file():
        raise FileNotFoundError(f'no checkpoint at {path}')
    try:
        checkpoint = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    except (RuntimeError, EOFError, OSError, UnpicklingError) as error:
        raise ValueError(
            f'{path} cannot be read as a checkpoint ({error}); it may be cut short: '
            'copy or train it again'
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f'{path} holds a {type(checkpoint).__name__}, not a checkpoint dict')
    if 'state_dict' not in checkpoint:
        checkpoint = {'state_dict': checkpoint}
    return checkpoint


def _history_buffer_method(owner: Any, name: str) -> Any:
    """Stand in for ``getattr`` while a checkpoint is read: history buffers store their methods."""
    if owner is not HistoryBuffer:
        raise UnpicklingError(
            f'the checkpoint asks for {name!r} of {owner!r}, which is not allowed'
        )
    return getattr(owner, name)
