"""Generation of a whole data set: complete or not there at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import mkdtemp

import cv2
import numpy as np
from tqdm import tqdm

from videosim.clip import render_clip
from videosim.layouts import FPS, Item, Parameters, list_items, write_lists
from videosim.manifest import MANIFEST, verify_dataset, write_manifest


def generate_dataset(
    out: str | Path,
    parameters: Parameters | None = None,
    workers: int = 1,
    force: bool = False,
    progress: bool = False,
) -> bool:
    """Make sure that `out` holds the complete data set of these parameters.

    The files are written into a hidden sibling folder that takes the name `out` at the end, so a
    killed run leaves nothing in `out`.

    Args:
        out: Folder of the data set.
        parameters: What to generate.
        workers: Processes; the result does not depend on them.
        force: Replace a complete data set, whatever its parameters.
        progress: Show a progress bar.

    Returns:
        Whether it was generated; False if it was there already.

    Raises:
        ValueError: If `out` holds a data set of other parameters or format, and not `force`.
        FileExistsError: If `out` holds something that is not a videosim data set.
    """
    out, parameters = Path(out).absolute(), parameters or Parameters()
    if not force and _is_complete(out, parameters):
        return False
    if out.exists() and not (out / MANIFEST).exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(
            f'{out} holds something that is not a videosim data set; choose another --out or '
            'remove it yourself'
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(mkdtemp(prefix=f'.{out.name}.partial-', dir=out.parent))
    try:
        _write(scratch / 'new', parameters, workers, progress)
        if out.exists():
            out.rename(scratch / 'old')
        (scratch / 'new').rename(out)
    finally:
        shutil.rmtree(scratch)
    return True


def _is_complete(out: Path, parameters: Parameters) -> bool:
    """Whether the wanted data set is there; an error if another complete one is."""
    try:
        there = verify_dataset(out)['parameters']
    except FileNotFoundError:
        return False
    different = [
        f'{name} is {there.get(name)}, asked for {value}'
        for name, value in asdict(parameters).items()
        if there.get(name) != value
    ]
    if different:
        raise ValueError(
            f'{out} holds a videosim data set of other parameters ({"; ".join(different)}); '
            'use --force to replace it, or another --out'
        )
    return True


def _write(root: Path, parameters: Parameters, workers: int, progress: bool) -> None:
    """Write everything below `root`, the manifest last."""
    root.mkdir()
    items = list_items(parameters)
    for folder in {item.path.parent for item in items}:
        (root / folder).mkdir(parents=True)
    write = partial(_write_item, root, parameters)
    done: Iterable[None]
    if workers > 1:
        with ProcessPoolExecutor(workers, mp_context=get_context('fork')) as pool:
            done = pool.map(write, items, chunksize=16)
            list(tqdm(done, total=len(items), unit='clip', disable=not progress))
    else:
        for item in tqdm(items, unit='clip', disable=not progress):
            write(item)
    write_lists(root, parameters)
    write_manifest(root, parameters)


def _write_item(root: Path, parameters: Parameters, item: Item) -> None:
    clip = render_clip(
        item.action,
        item.group,
        item.number,
        frames=parameters.frames,
        size=parameters.size,
        trimmed=parameters.trimmed,
    )
    write_video(root / item.path, clip.frames)


def write_video(path: Path, frames: np.ndarray, fps: float = FPS, codec: str = 'mp4v') -> None:
    """Write frames ``(T, H, W, 3)``, blue first, as a video file.

    ``mp4v`` (MPEG-4 part 2) is what OpenCV writes everywhere, and it writes the same bytes for the
    same frames.

    Raises:
        OSError: OpenCV cannot write this codec here, or not to this place.
    """
    height, width = frames.shape[1:3]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, (width, height))
    if not writer.isOpened():
        raise OSError(f'OpenCV cannot write {path} with the codec {codec}')
    for frame in frames:
        writer.write(frame)
    writer.release()
