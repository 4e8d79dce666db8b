"""The whole data set: complete in its folder, or not there at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp

from medsim.layouts import write_medpix, write_wound
from medsim.parameters import Parameters
from medsim.vocabulary import write_tokenizers

MANIFEST = 'medsim.json'
FORMAT = 1
"""Raise this when the same parameters give other files than before."""


def generate_dataset(
    out: str | Path, parameters: Parameters | None = None, force: bool = False
) -> bool:
    """Make sure that ``out`` holds the complete data set of these parameters.

    It is written beside ``out`` under a hidden name and then renamed, so a killed run leaves no
    half of a data set.

    Args:
        out: Folder of the data set.
        parameters: What to generate.
        force: Replace a data set of other parameters.

    Returns:
        Whether it was generated; False if it was there already.

    Raises:
        ValueError: ``out`` holds a data set of other parameters or format, and not ``force``.
        FileExistsError: ``out`` holds something else.
    """
    out, parameters = Path(out).absolute(), parameters or Parameters()
    if out.exists():
        there = _there(out)
        if (there['format'], there['parameters']) == (FORMAT, asdict(parameters)):
            verify_dataset(out)
            return False
        if not force:
            raise ValueError(
                f'{out} holds a medsim data set of format {there["format"]} and '
                f'{there["parameters"]}, asked for {FORMAT} and {asdict(parameters)}; use --force '
                'to replace it, or another --out'
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(mkdtemp(prefix=f'.{out.name}.', dir=out.parent))
    try:
        _write(scratch / 'new', parameters)
        if out.exists():
            out.rename(scratch / 'old')
        (scratch / 'new').rename(out)
    finally:
        shutil.rmtree(scratch)
    return True


def verify_dataset(path: str | Path, deep: bool = False) -> dict:
    """Check that a data set is there and complete.

    Args:
        path: Folder of the data set.
        deep: Also compare the digest of all files (reads them all).

    Returns:
        The manifest: ``format``, ``parameters``, ``files``, ``bytes``, ``digest``.

    Raises:
        FileNotFoundError: There is none, a file is missing, or one was changed.
    """
    root = Path(path)
    command = f'run: python tools/create_medsim.py --out {path}'
    try:
        manifest = json.loads((root / MANIFEST).read_text())
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise FileNotFoundError(f'no medsim data set in {root}; {command}') from error
    files = _files(root)
    size = sum(file.stat().st_size for file in files)
    if (len(files), size) != (manifest['files'], manifest['bytes']):
        raise FileNotFoundError(
            f'the medsim data set in {root} has {len(files)} files of {size} bytes, expected '
            f'{manifest["files"]} of {manifest["bytes"]}; remove the folder and {command}'
        )
    if deep and _digest(root) != manifest['digest']:
        raise FileNotFoundError(
            f'a file of the medsim data set in {root} was changed; remove the folder and {command}'
        )
    return manifest


def _there(out: Path) -> dict:
    """The manifest of the data set that is in the way."""
    try:
        return json.loads((out / MANIFEST).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise FileExistsError(
            f'{out} exists and is no medsim data set; choose another --out or remove it yourself'
        ) from error


def _write(root: Path, parameters: Parameters) -> None:
    texts = [*write_medpix(root, parameters), *write_wound(root, parameters)]
    write_tokenizers(root / 'tokenizers', texts)
    files = _files(root)
    manifest = dict(
        format=FORMAT,
        parameters=asdict(parameters),
        files=len(files),
        bytes=sum(file.stat().st_size for file in files),
        digest=_digest(root),
    )
    (root / MANIFEST).write_text(json.dumps(manifest, indent=2) + '\n')


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob('*') if path.is_file() and path.name != MANIFEST)


def _digest(root: Path) -> str:
    """SHA-256 over names and contents."""
    total = hashlib.sha256()
    for path in _files(root):
        total.update(str(path.relative_to(root)).encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
