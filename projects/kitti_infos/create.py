"""KITTI: info files, reduced clouds, and the object database of the training split."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from kitti_infos.infos import Frames, metainfo
from nuscenes_infos import locked, serialize
from nuscenes_infos.files import write_info_file

SPLITS = ('train', 'val', 'test')


def create_kitti(
    root: Path,
    out: Path | None = None,
    tag: str = 'kitti',
    with_plane: bool = False,
    workers: int = 1,
    database: bool = True,
    force: bool = False,
    progress: bool = False,
    report: Callable[[str], Any] = lambda line: None,
) -> None:
    """Write what is missing, and report what is there.

    Args:
        root: Folder with ``training/``, ``ImageSets/`` and, for the test split, ``testing/``.
        out: Folder of the results; the root if None.
        tag: First word of the files' names.
        with_plane: Put the ground of ``training/planes/`` into the infos, too.
        workers: Processes; the result does not depend on them.
        database: Write the object database too.
        force: Replace files that differ from what is written now.
        progress: Show progress bars.
        report: Called with a line for each file, such as ``print``.

    Raises:
        FileNotFoundError: The root, a list or a file that it names is missing.
        FileExistsError: Other files of these names are there, and not ``force``.
        ValueError: A file is damaged.
    """
    out = root if out is None else out
    indices = {split: read_split(root, split) for split in SPLITS}
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        frames: dict[str, list[dict]] = {}
        for split, some in indices.items():
            reader = Frames(
                root,
                out,
                'testing' if split == 'test' else 'training',
                with_plane and split != 'test',
                force,
            )
            (out / reader.part / 'velodyne_reduced').mkdir(parents=True, exist_ok=True)
            bar = tqdm(
                _read(reader, some, workers),
                total=len(some),
                desc=f'{split} frames',
                unit='frame',
                disable=not progress,
            )
            frames[split] = list(bar)
        for split in ('train', 'val', 'trainval', 'test'):
            found = frames['train'] + frames['val'] if split == 'trainval' else frames[split]
            path = out / f'{tag}_infos_{split}.pkl'
            content = serialize({'metainfo': metainfo(found), 'data_list': found})
            state = write_info_file(path, content, force)
            boxes = sum(box['bbox_label'] >= 0 for frame in found for box in frame['instances'])
            report(f'{path}: {len(found)} frames, {boxes} boxes, {state}')
        if database:
            from kitti_infos.object_database import KittiObjectDatabase

            objects = KittiObjectDatabase(out, out, tag)
            written = objects.write(workers, force, progress=progress)
            report(f'{objects.dbinfos}: {"written" if written else "complete already"}')


def read_split(root: Path, split: str) -> list[int]:
    """Numbers of a split's frames.

    Raises:
        FileNotFoundError: The data set or the split's list is not there.
        ValueError: A line of the list is no number.
    """
    if not (root / 'training').is_dir():
        raise FileNotFoundError(
            f'there is no {root / "training"} (seen from {Path.cwd()}); --root-path is the folder '
            'with training/, testing/ and ImageSets/'
        )
    path = root / 'ImageSets' / f'{split}.txt'
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} is missing: it lists the frames of the split, one number a line, as in the '
            'usual split of 3,712 training and 3,769 validation frames; an empty file leaves the '
            'split out'
        )
    try:
        return [int(line) for line in path.read_text().split()]
    except ValueError as error:
        raise ValueError(f'{path} lists the numbers of frames, one a line: {error}') from error


def _read(reader: Frames, indices: Sequence[int], workers: int) -> Iterator[dict]:
    """Entries of the frames, in order."""
    if workers <= 1 or len(indices) < 2:
        yield from map(reader, indices)
        return
    ignore_interrupt = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(
        workers, get_context('spawn'), initializer=signal.signal, initargs=ignore_interrupt
    ) as pool:
        yield from pool.map(reader, indices, chunksize=20)
