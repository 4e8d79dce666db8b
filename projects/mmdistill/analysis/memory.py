"""How much memory a call takes at most, on CUDA and on the CPU."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def peak_bytes(call: Callable[[], Any]) -> int | None:
    """What a call adds at most to the memory in use before it.

    On CUDA it is what torch has allocated; on the CPU the resident memory of the process, whose
    high-water mark Linux resets on request, after memory that is free has been given back.

    Args:
        call (Callable): run once; it should have run before, so that one-time caches are filled.

    Returns:
        int, optional: bytes; None where the system does not tell.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if not _reset_high_water_mark():
        return None
    before = resident_bytes()
    call()
    return max(resident_bytes(peak=True) - before, 0)


def resident_bytes(peak: bool = False) -> int:
    """Resident memory of this process in bytes, now or at its peak (Linux).

    ``resource.getrusage`` would count the peak of the process that started this one.
    """
    key = 'VmHWM:' if peak else 'VmRSS:'
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise OSError(f'/proc/self/status has no {key} line')


def _reset_high_water_mark() -> bool:
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'malloc_trim'):  # glibc
        libc.malloc_trim(0)
    try:
        Path('/proc/self/clear_refs').write_text('5')
    except OSError:  # no Linux, or a container that forbids it
        return False
    return True
