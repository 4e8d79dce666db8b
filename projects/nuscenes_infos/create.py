"""nuScenes: info files of both splits, and the object database of the training split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nuscenes_infos.files import locked, write_info_file
from nuscenes_infos.infos import build_infos, serialize, split_scenes
from nuscenes_infos.object_database import ObjectDatabase
from nuscenes_infos.tables import NuScenesTables


def create_nuscenes(
    root: Path,
    version: str,
    out: Path | None = None,
    tag: str = 'nuscenes',
    max_sweeps: int = 10,
    workers: int = 1,
    database: bool = True,
    allow_partial: bool = False,
    force: bool = False,
    progress: bool = False,
    report: Callable[[str], Any] = lambda line: None,
) -> None:
    """Write what is missing, and report what is there.

    Args:
        root: Folder with ``samples/``, ``sweeps/`` and the version's tables.
        version: ``'v1.0-trainval'`` or ``'v1.0-mini'``.
        out: Folder of the results; the root if None.
        tag: First word of the files' names.
        max_sweeps: Sweeps before a key frame, at most.
        workers: Processes that cut out objects; the result does not depend on them.
        database: Write the object database too.
        allow_partial: Leave out scenes whose point files are not all there.
        force: Replace files that differ from what is written now.
        progress: Show progress bars.
        report: Called with a line for each step and file, such as ``print``.

    Raises:
        FileNotFoundError: The root, tables or point files are missing.
        FileExistsError: Other files of these names are there, and not ``force``.
        ValueError: A table is damaged, or has scenes that belong to another version.
    """
    report(f'Reading the tables of {version} in {root} ...')
    tables = NuScenesTables(root, version)
    splits = split_scenes(tables)
    if allow_partial:
        complete = tables.complete_scenes(max_sweeps)
        splits = {split: scenes & complete for split, scenes in splits.items()}
        report(f'{len(complete)} of {len(tables.scenes)} scenes have all their point files.')
        if not complete:
            raise FileNotFoundError(
                f'nothing is left of {version} in {root}: unpack samples/ and sweeps/ there, or '
                'use key frames alone: --max-sweeps 0'
            )
    else:
        tables.require_point_files(set().union(*splits.values()), max_sweeps)
    out = root if out is None else out
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        for split, scenes in splits.items():
            title = f'{split} infos' if progress else None
            infos = build_infos(tables, scenes, max_sweeps, progress=title)
            path = out / f'{tag}_infos_{split}.pkl'
            state = write_info_file(path, serialize(infos), force)
            boxes = sum(len(frame['instances']) for frame in infos['data_list'])
            report(f'{path}: {len(infos["data_list"])} frames, {boxes} boxes, {state}')
        del tables, infos
        if database:
            objects = ObjectDatabase(root, out, tag, max_sweeps)
            written = objects.write(workers, force, progress=progress)
            report(f'{objects.dbinfos}: {"written" if written else "complete already"}')
