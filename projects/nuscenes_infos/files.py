"""Files that are whole or not there, and folders that one process writes at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there, so that no half of it is ever seen."""
    with NamedTemporaryFile(dir=path.parent, prefix=f'.{path.name}.', delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(0o644)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def write_info_file(path: Path, content: bytes, force: bool = False) -> str:
    """Write an info file if it is not there as it should be.

    Returns:
        What was done, in a word or two.

    Raises:
        FileExistsError: Another one is there, and not ``force``.
    """
    if path.exists():
        if path.read_bytes() == content:
            return 'complete already'
        if not force:
            raise FileExistsError(
                f'{path} is there already and differs: it was written by another tool or an '
                'older version, or with other options. --force replaces it, --out-dir or '
                '--extra-tag leave it'
            )
    write_atomically(path, content)
    return 'written'


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one writer at a time work in a folder; the lock ends with the process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
