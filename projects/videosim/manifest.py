"""What a complete data set is: the manifest `videosim.json`, written last."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from videosim.layouts import Parameters

MANIFEST = 'videosim.json'
FORMAT = 1
"""Raise this when the same parameters give other pixels, names or lists than before."""


def write_manifest(root: Path, parameters: Parameters) -> None:
    """Declare the data set in `root` complete."""
    files = data_files(root)
    content = {
        'format': FORMAT,
        'parameters': asdict(parameters),
        'files': len(files),
        'bytes': sum(path.stat().st_size for path in files),
        'digest': digest(root),
    }
    (root / MANIFEST).write_text(json.dumps(content, indent=2) + '\n')


def verify_dataset(path: str | Path, deep: bool = False) -> dict:
    """Check that a data set is there and complete.

    Args:
        path: Folder of the data set.
        deep: Also compare the digest of all files (reads them all).

    Returns:
        The manifest: `format`, `parameters`, `files`, `bytes`, `digest`.

    Raises:
        FileNotFoundError: If there is no complete data set in `path`.
        ValueError: If the data set was made by another version of the generator.
    """
    root = Path(path)
    command = f'run: python tools/create_videosim.py --out {path}'
    try:
        manifest = json.loads((root / MANIFEST).read_text())
        made_by, _, number, size, expected = (
            manifest[key] for key in ('format', 'parameters', 'files', 'bytes', 'digest')
        )
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, KeyError) as error:
        raise FileNotFoundError(
            f'no complete videosim data set in {root}: {MANIFEST} is missing or cut '
            f'({type(error).__name__}); {command}'
        ) from error
    if made_by != FORMAT:
        raise ValueError(
            f'the videosim data set in {root} has format {made_by}, this version reads {FORMAT}; '
            f'{command} --force'
        )
    files = data_files(root)
    found = len(files), sum(file.stat().st_size for file in files)
    if found != (number, size):
        raise FileNotFoundError(
            f'the videosim data set in {root} is incomplete: {found[0]} files of {found[1]} bytes, '
            f'expected {number} files of {size} bytes; {command} --force'
        )
    if deep and digest(root) != expected:
        raise FileNotFoundError(
            f'the videosim data set in {root} is damaged: a file was changed; {command} --force'
        )
    return manifest


def data_files(root: Path) -> list[Path]:
    """All files that the manifest vouches for, sorted."""
    found = [path for path in root.rglob('*') if path.is_file()]
    return sorted(path for path in found if path.name != MANIFEST)


def digest(root: Path) -> str:
    """SHA-256 over names and contents of all data files."""
    total = hashlib.sha256()
    for path in data_files(root):
        total.update(str(path.relative_to(root)).encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
