"""Reading MMEngine checkpoints with torch's safe loader."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner.checkpoint import CheckpointLoader

from mmdistill.utils.run_checkpoint import resolve_checkpoint

# Functions that MMEngine's objects hold, which pickle stores as attributes of their class.
_PICKLED_ATTRIBUTES = {
    HistoryBuffer: ('min', 'max', 'current', 'mean'),
    OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
}


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read checkpoints that MMEngine's runner saved.

    They hold the message hub (``HistoryBuffer`` objects with numpy arrays) and schedulers.
    MMEngine 0.10 calls ``torch.load`` with torch's default, which is ``weights_only=True`` since
    torch 2.6, so resuming fails without this. Only data types are added to torch's list, and a
    ``getattr`` that knows nothing but the functions named above.
    """
    version = tuple(int(part) for part in torch.__version__.split('.')[:2])
    if version < (2, 5):  # before 2.6 it is not the default; 2.5 knows (object, name) pairs
        return
    core = np.core if np.lib.NumpyVersion(np.__version__) < '2.0.0' else np._core
    rebuild = {name: getattr(core.multiarray, name) for name in ('_reconstruct', 'scalar')}
    number_types = ('f2', 'f4', 'f8', 'i4', 'i8', 'u4', 'u8', '?')
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            OneCycleParamScheduler,
            np.ndarray,
            np.dtype,
            # Written under either name, by numpy 1 and 2.
            *((value, f'numpy.core.multiarray.{name}') for name, value in rebuild.items()),
            *((value, f'numpy._core.multiarray.{name}') for name, value in rebuild.items()),
            *{type(np.dtype(kind)) for kind in number_types},
            (_pickled_attribute, 'builtins.getattr'),
        ]
    )


def load_weights(path: str) -> dict[str, Any]:
    """Load a checkpoint to the CPU from a path or URL that MMEngine's loader knows.

    ``RUN/best`` and ``RUN/last`` stand for files of a run, see
    :func:`~mmdistill.utils.run_checkpoint.resolve_checkpoint`.

    Returns:
        The checkpoint's dict; its weights are under ``'state_dict'``.

    Raises:
        FileNotFoundError: A local file that does not exist.
        ValueError: A file that is no checkpoint, or is cut short.
    """
    path = resolve_checkpoint(path)
    is_local = '://' not in path
    if is_local and not Path(path).is_file():
        raise FileNotFoundError(f'no checkpoint at {path}')
    try:
        checkpoint = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    except UnpicklingError as error:
        raise ValueError(
            f'{path} holds more than weights, which the safe loader refuses ({error}); save its '
            "state_dict alone: torch.save(dict(state_dict=content['state_dict']), 'weights.pth')"
        ) from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(
            f'{path} cannot be read as a checkpoint ({error}); it may be cut short: '
            'copy or train it again'
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f'{path} holds a {type(checkpoint).__name__}, not a checkpoint dict')
    if 'state_dict' not in checkpoint:
        checkpoint = {'state_dict': checkpoint}
    return checkpoint


def _pickled_attribute(owner: Any, name: str) -> Any:
    """Stand in for ``getattr`` while a checkpoint is read."""
    if name not in _PICKLED_ATTRIBUTES.get(owner, ()):
        raise UnpicklingError(f'the checkpoint asks for {name!r} of {owner!r}: not allowed')
    return getattr(owner, name)
