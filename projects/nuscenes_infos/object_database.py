"""Ground-truth objects cut out of a data set's frames, for pasting into others in training."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from mmdet3d.registry import DATASETS
from mmengine.registry import DefaultScope
from tqdm import tqdm

from nuscenes_infos.boxes import points_in_boxes
from nuscenes_infos.classes import CLASSES
from nuscenes_infos.files import write_atomically

FRAMES_PER_PART = 50
"""A killed run loses at most this many frames of each process."""

_FORMAT = 1
_RECIPE = 'recipe.json'


@dataclass(frozen=True)
class ObjectDatabase:
    """The object database of a nuScenes training split, as ``DataBaseSampler`` reads it.

    It holds one file of points for each object of the classes that is valid and has points:
    float32 (N, 5) of x, y, z relative to the centre of the box's bottom, intensity and time lag;
    and ``<tag>_dbinfos_train.pkl``, the boxes by class.

    The files are written in parts into a hidden folder; a stopped run goes on where it was. The
    dbinfos file is removed before the folder is replaced and written last, so while it is there
    the database is whole.

    Args:
        root: Folder of the data set.
        out: Folder with the info files, which gets the database: the ``data_root`` of a sampler.
        tag: First word of the files' names.
        max_sweeps: Sweeps whose points join those of the key frame, at most.
        classes: Names of the classes, in the order of their labels.
        columns: Values of a point.
    """

    root: Path
    out: Path
    tag: str = 'nuscenes'
    max_sweeps: int = 10
    classes: tuple[str, ...] = CLASSES
    columns: int = 5

    @property
    def folder(self) -> Path:
        """Where the points are."""
        return self.out / f'{self.tag}_gt_database'

    @property
    def dbinfos(self) -> Path:
        """The file that a sampler's ``info_path`` names."""
        return self.out / f'{self.tag}_dbinfos_train.pkl'

    @property
    def infos(self) -> Path:
        """The info file whose boxes are cut out."""
        return self.out / f'{self.tag}_infos_train.pkl'

    def write(self, workers: int = 1, force: bool = False, progress: bool = False) -> bool:
        """Make sure that the database of these infos is there.

        Args:
            workers: Processes; the result does not depend on them.
            force: Write it anew where one of these infos is there already, and replace one whose
                origin is unknown.
            progress: Show a progress bar.

        Returns:
            Whether it was written; False if it was there already.

        Raises:
            FileExistsError: A database of unknown origin is there, and not ``force``.
        """
        recipe = self._recipe()
        if not force and self._is_there(recipe):
            return False
        scratch = self.out / f'.{self.tag}_gt_database.partial'
        if force or _read_json(scratch / _RECIPE) != recipe:
            shutil.rmtree(scratch, ignore_errors=True)
            (scratch / 'new').mkdir(parents=True)
            write_atomically(scratch / _RECIPE, json.dumps(recipe).encode())
        parts = self._write_parts(scratch, workers, progress)
        objects = _merge(parts, self.classes)
        write_atomically(scratch / 'new' / _RECIPE, json.dumps(recipe).encode())
        self.dbinfos.unlink(missing_ok=True)
        shutil.rmtree(scratch / 'old', ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(scratch / 'old')
        (scratch / 'new').rename(self.folder)
        write_atomically(self.dbinfos, pickle.dumps(objects, protocol=4))
        shutil.rmtree(scratch)
        return True

    def dataset_config(self) -> dict[str, Any]:
        """Config of the data set that gives the frames, without its infos and its pipeline."""
        return {
            'type': 'NuScenesDataset',
            'data_root': str(self.root),
            'data_prefix': {'pts': 'samples/LIDAR_TOP', 'sweeps': 'sweeps/LIDAR_TOP'},
            'use_valid_flag': True,
        }

    def pipeline(self) -> list[dict[str, Any]]:
        """What loads the points and boxes of a frame."""
        columns = {'load_dim': self.columns, 'use_dim': self.columns}
        sweeps = {
            'type': 'LoadPointsFromMultiSweeps',
            'sweeps_num': self.max_sweeps,
            'pad_empty_sweeps': True,
            'remove_close': True,
            **columns,
        }
        return [
            {'type': 'LoadPointsFromFile', 'coord_type': 'LIDAR', **columns},
            *([sweeps] if self.max_sweeps else []),
            {'type': 'LoadAnnotations3D', 'with_bbox_3d': True, 'with_label_3d': True},
        ]

    def _recipe(self) -> dict[str, Any]:
        """What determines the content of the database."""
        return {
            'format': _FORMAT,
            'infos': hashlib.sha256(self.infos.read_bytes()).hexdigest(),
            'max_sweeps': self.max_sweeps,
        }

    def _is_there(self, recipe: dict[str, Any]) -> bool:
        """Whether the wanted database is there; an error if one of unknown origin is."""
        there = _read_json(self.folder / _RECIPE)
        if there is None and self.folder.exists() and any(self.folder.iterdir()):
            raise FileExistsError(
                f'{self.folder} holds an object database that this tool did not write; --force '
                'replaces it, --no-database leaves it as it is'
            )
        return there == recipe and self.dbinfos.exists()

    def _write_parts(self, scratch: Path, workers: int, progress: bool) -> list[Path]:
        """Write the parts that are not there yet; returns all of them, in order."""
        with open(self.infos, 'rb') as file:
            frames = len(pickle.load(file)['data_list'])
        jobs = [
            (range(start, min(start + FRAMES_PER_PART, frames)), scratch / f'part_{start:06d}.pkl')
            for start in range(0, frames, FRAMES_PER_PART)
        ]
        missing = [job for job in jobs if not job[1].exists()]
        bar = tqdm(total=frames, desc='objects', unit='frame', disable=not progress)
        with bar:
            bar.update(frames - sum(len(indices) for indices, _ in missing))
            for done in self._run(missing, scratch / 'new', min(workers, len(missing))):
                bar.update(done)
        return [part for _, part in jobs]

    def _run(self, jobs: Sequence[tuple], folder: Path, workers: int) -> Iterator[int]:
        """Run the jobs; yields the number of frames of each that is done."""
        if not jobs:
            return
        if workers <= 1:
            writer = _PartWriter(self, folder)
            yield from (writer(*job) for job in jobs)
            return
        with ProcessPoolExecutor(
            workers, get_context('spawn'), initializer=_start_worker, initargs=(self, folder)
        ) as pool:
            yield from pool.map(_write_in_worker, jobs)


class _PartWriter:
    """Cuts the objects out of some frames; the data set is read once a process."""

    def __init__(self, database: ObjectDatabase, folder: Path) -> None:
        self.prefix = database.folder.name
        self.folder = folder
        with DefaultScope.overwrite_default_scope('mmdet3d'):
            self.dataset = DATASETS.build(
                {
                    **database.dataset_config(),
                    'ann_file': str(database.infos.absolute()),
                    'pipeline': database.pipeline(),
                }
            )

    def __call__(self, indices: Sequence[int], part: Path) -> int:
        """Write the objects of some frames, and then their entries of the dbinfos to ``part``."""
        entries = [entry for index in indices for entry in self._cut(index)]
        write_atomically(part, pickle.dumps(entries, protocol=4))
        return len(indices)

    def _cut(self, index: int) -> Iterator[dict[str, Any]]:
        """Write the points of one frame's objects and yield their entries."""
        frame = self.dataset.pipeline(self.dataset.get_data_info(index))
        points = frame['points'].tensor.numpy()
        boxes = frame['gt_bboxes_3d'].tensor.numpy()
        difficulty = frame['ann_info'].get('difficulty', np.zeros(len(boxes), int))
        inside = points_in_boxes(points, boxes)
        for number, (box, label, indices) in enumerate(
            zip(boxes, frame['gt_labels_3d'].tolist(), inside, strict=True)
        ):
            if label < 0 or not len(indices):
                continue
            name = self.dataset.metainfo['classes'][label]
            cut = points[indices]
            cut[:, :3] -= box[:3]
            filename = f'{frame["sample_idx"]}_{name}_{number}.bin'
            (self.folder / filename).write_bytes(cut.tobytes())
            yield {
                'name': name,
                'path': f'{self.prefix}/{filename}',
                'image_idx': frame['sample_idx'],
                'gt_idx': number,
                'box3d_lidar': box,
                'num_points_in_gt': len(cut),
                'difficulty': int(difficulty[number]),
            }


def _merge(parts: Sequence[Path], classes: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The entries of all parts by class, each object a group of its own."""
    objects: dict[str, list[dict[str, Any]]] = {name: [] for name in classes}
    group = 0
    for part in parts:
        for entry in pickle.loads(part.read_bytes()):
            objects[entry['name']].append({**entry, 'group_id': group})
            group += 1
    return objects


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


_worker: _PartWriter


def _start_worker(database: ObjectDatabase, folder: Path) -> None:
    """Read the data set in a process of its own; an interrupt is the parent's to handle."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker = _PartWriter(database, folder)


def _write_in_worker(job: tuple[Sequence[int], Path]) -> int:
    return _worker(*job)
