"""One run at a time in a work dir, and what is recorded of it there."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LOCK = '.running'
_RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')


class WorkDirError(ValueError):
    """Another process writes a work dir."""


@contextmanager
def only_run_in(folder: str | Path) -> Iterator[None]:
    """Keep a work dir for this process while the block runs.

    The file ``.running`` in it names process, machine and command. One that a process left which
    is not there any more (killed, or the machine was started anew) counts no more; of a process on
    another machine nobody can tell, so that it counts until the file is removed. Of several
    processes of one run the first one keeps the folder for all.

    Args:
        folder: The work dir; it is made where it is not there.

    Raises:
        WorkDirError: Another process works there; says which, and what to do.
    """
    if _rank():
        yield
        return
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / LOCK
    mine = _describe_process()
    with _one_at_a_time(folder):
        other = _read(lock)
        if other and _may_run(other):
            raise WorkDirError(_sentence(folder, lock, other))
        lock.write_text(json.dumps(mine, indent=1) + '\n')
    try:
        yield
    finally:
        if _read(lock) == mine:
            lock.unlink()


def _rank() -> int:
    return int(next((os.environ[name] for name in _RANKS if name in os.environ), 0))


def _describe_process() -> dict[str, Any]:
    return {
        'host': socket.gethostname(),
        'pid': os.getpid(),
        'started': _started(os.getpid()),
        'command': shlex.join(sys.argv),
        'since': time.strftime('%Y-%m-%d %H:%M:%S'),
    }


def _read(lock: Path) -> dict[str, Any]:
    try:
        return json.loads(lock.read_text())
    except (FileNotFoundError, json.JSONDecodeError):  # none, or the machine went down in a write
        return {}


def _may_run(other: dict[str, Any]) -> bool:
    """Whether a process is there; of another machine's it is assumed."""
    if other['host'] != socket.gethostname():
        return True
    return other['started'] is not None and _started(other['pid']) == other['started']


def _started(pid: int) -> str | None:
    """When a process started, in ticks of this start of the machine; None if it is not there.

    A process number is given again, so the number alone does not tell a process.
    """
    try:
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        return f'{Path("/proc/sys/kernel/random/boot_id").read_text().strip()}/{fields[19]}'
    except OSError:
        return None


def _sentence(folder: Path, lock: Path, other: dict[str, Any]) -> str:
    here = other['host'] == socket.gethostname()
    where = f'on {other["host"]}' if not here else 'on this machine'
    what = (
        f'{folder} is being written by process {other["pid"]} {where}, since {other["since"]}: '
        f'{other["command"]}\nWait for it, end it, or take another folder with --work-dir.'
    )
    if here:
        return what
    return f'{what} If that process is gone (look on {other["host"]}), remove {lock}.'


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process at a time look at the lock and take it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
