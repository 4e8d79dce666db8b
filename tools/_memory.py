"""How much memory this process has taken."""

from __future__ import annotations

from pathlib import Path


def resident_bytes(peak: bool = False) -> int:
    """Resident memory of this process in bytes, now or at its peak (Linux).

    ``resource.getrusage`` would count the peak of the process that started this one.
    """
    key = 'VmHWM:' if peak else 'VmRSS:'
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise OSError(f'/proc/self/status has no {key} line')
