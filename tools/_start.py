"""What every command does before torch is loaded; the standard library is all that it needs."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt, in malloc.h


def prepare_process(keep_freed_memory: bool = True) -> None:
    """Set the paths and threads of this process; call it before torch is imported.

    ``projects/`` goes on ``sys.path``, so that a plain clone works without being installed. Idle
    OpenMP threads sleep instead of spinning, and without a GPU a process takes one thread unless
    ``OMP_NUM_THREADS`` says otherwise: spinning threads that share cores are many times slower;
    freed memory is kept.

    Args:
        keep_freed_memory (bool): False leaves glibc's own way, for benchmarks of it.
    """
    projects = str(ROOT / 'projects')
    if projects not in sys.path:
        sys.path.insert(0, projects)
    # spconv 2.3 decorates its functions with names that torch >= 2.4 calls old, on every import,
    # and indexes in a way that torch 2.9 calls old; torch traces itself in a way it calls old.
    warnings.filterwarnings('ignore', category=FutureWarning, module='spconv')
    warnings.filterwarnings('ignore', 'Using a non-tuple sequence', UserWarning)
    logging.getLogger('torch.fx._symbolic_trace').addFilter(lambda record: record.levelno > 30)
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    if not _may_have_gpu():
        threads = os.environ.setdefault('OMP_NUM_THREADS', '1')
        os.environ.setdefault('MKL_NUM_THREADS', threads)
        os.environ.setdefault('OPENBLAS_NUM_THREADS', threads)
        if keep_freed_memory:
            _keep_freed_memory()


@contextlib.contextmanager
def end_with_a_sentence() -> Iterator[None]:
    """End the command with what an error of its input says, instead of a traceback."""
    try:
        yield
    except (ValueError, IndexError, OSError) as error:
        sys.exit(f'{type(error).__name__}: {error}')


def _keep_freed_memory() -> None:
    """Let glibc keep what tensors free, for the next ones.

    By default it gives large blocks back, and each new feature map is faulted in page by page: a
    tenth of a training step's time on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:  # another C library has none
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _may_have_gpu() -> bool:
    """Guess without torch whether CUDA is there: torch must not be loaded yet."""
    if os.environ.get('CUDA_VISIBLE_DEVICES') in ('', '-1'):
        return False
    return Path('/dev/nvidia0').exists() or Path('/dev/nvidiactl').exists()
