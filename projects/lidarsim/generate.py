"""Generation of a whole data set: in parallel over scenes, complete or not there at all."""

import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tqdm import tqdm

from kitti_infos import create_kitti
from lidarsim.database import SceneWriter
from lidarsim.infos import write_infos
from lidarsim.kitti import KittiSceneWriter
from lidarsim.manifest import MANIFEST, Parameters, verify_dataset, write_manifest
from lidarsim.tables import TABLES, static_tables, token, write_tables
from nuscenes_infos import locked


def generate_dataset(
    out: str | Path,
    parameters: Parameters | None = None,
    workers: int = 1,
    force: bool = False,
    progress: bool = False,
) -> bool:
    """Make sure that `out` holds the complete data set of these parameters.

    The files are written into a hidden sibling folder that takes the name `out` at the end, so a
    killed run leaves nothing in `out`, and the next run removes its remains and starts afresh.

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
        FileExistsError: If `out` holds something that is not a lidarsim data set.
    """
    out, parameters = Path(out).absolute(), parameters or Parameters()
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out.parent):
        if not force and _is_complete(out, parameters):
            return False
        _require_ours(out)
        for left_over in out.parent.glob(f'.{out.name}.partial-*'):
            shutil.rmtree(left_over, ignore_errors=True)
        scratch = Path(mkdtemp(prefix=f'.{out.name}.partial-', dir=out.parent))
        _write(scratch / 'new', parameters, workers, progress)
        if out.exists():
            out.rename(scratch / 'old')
        (scratch / 'new').rename(out)
        shutil.rmtree(scratch)
    return True


def split_names(parameters: Parameters) -> dict[str, list[str]]:
    """Scene names by split, the first of the official lists; ``test`` has one, for KITTI's form."""
    from nuscenes.utils import splits

    return {
        'train': splits.train[: parameters.scenes],
        'val': splits.val[: parameters.val_scenes],
        'test': splits.test[: parameters.layout == 'kitti'],
    }


def _is_complete(out: Path, parameters: Parameters) -> bool:
    """Whether the wanted data set is there; an error if another complete one is."""
    try:
        # A data set that was made before a parameter existed has its default.
        there = {**asdict(Parameters()), **verify_dataset(out)['parameters']}
    except FileNotFoundError:
        return False
    wanted = asdict(parameters)
    different = [
        f'{name} is {there.get(name)}, asked for {value}'
        for name, value in wanted.items()
        if there.get(name) != value
    ]
    if different:
        raise ValueError(
            f'{out} holds a lidarsim data set of other parameters ({"; ".join(different)}); '
            'use --force to replace it, or another --out'
        )
    return True


def _require_ours(out: Path) -> None:
    """Refuse to replace a folder whose point files we did not write."""
    if not out.exists():
        return
    if not out.is_dir():
        raise FileExistsError(f'{out} is a file; choose another --out')
    files = [f for folder in ('samples', 'sweeps') for f in out.glob(f'{folder}/LIDAR_TOP/*')]
    foreign = not all(file.name.startswith('lidarsim-') for file in files)
    unknown = not files and any(out.iterdir()) and not (out / MANIFEST).exists()
    if foreign or unknown:
        raise FileExistsError(
            f'{out} holds files that are not a lidarsim data set; choose another --out or '
            'remove the folder yourself'
        )


def _write(root: Path, parameters: Parameters, workers: int, progress: bool) -> None:
    """Write everything below `root`, the manifest last."""
    write = {'nuscenes': _write_nuscenes, 'kitti': _write_kitti}[parameters.layout]
    write(root, parameters, workers, progress)
    write_manifest(root, parameters)


def _write_nuscenes(root: Path, parameters: Parameters, workers: int, progress: bool) -> None:
    for folder in ('samples/LIDAR_TOP', 'sweeps/LIDAR_TOP', 'maps'):
        (root / folder).mkdir(parents=True)
    splits = split_names(parameters)
    names = [name for split in splits.values() for name in split]
    jobs = [(root, name, number, parameters) for number, name in enumerate(names)]
    tables: dict[str, list[dict]] = {table: [] for table in TABLES}
    tables.update(static_tables(parameters.seed))
    for scene in _run(_write_scene, jobs, workers, progress):
        for table, rows in scene.items():
            tables[table] += rows
    tables['map'] = [_write_map(root, parameters.seed, tables['log'])]
    write_tables(root, tables)
    write_infos(root, tables, parameters.sweeps)


def _write_kitti(root: Path, parameters: Parameters, workers: int, progress: bool) -> None:
    for part, folders in {'training': ('label_2',), 'testing': ()}.items():
        for folder in ('velodyne', 'calib', 'image_2', *folders):
            (root / part / folder).mkdir(parents=True)
    (root / 'ImageSets').mkdir()
    indices: dict[str, list[int]] = {split: [] for split in split_names(parameters)}
    splits, jobs = [], []
    for part, own in {'training': ('train', 'val'), 'testing': ('test',)}.items():
        scenes = [(split, name) for split in own for name in split_names(parameters)[split]]
        for number, (split, name) in enumerate(scenes):
            jobs.append((root, part, name, number * parameters.frames, parameters))
            splits.append(split)
    for split, written in zip(
        splits, _run(_write_kitti_scene, jobs, workers, progress), strict=True
    ):
        indices[split] += written
    indices['trainval'] = indices['train'] + indices['val']
    for split, some in indices.items():
        text = ''.join(f'{index:06d}\n' for index in some)
        (root / 'ImageSets' / f'{split}.txt').write_text(text)
    create_kitti(root, workers=workers, database=False)


def _run(
    write: Callable[[tuple], Any], jobs: list[tuple], workers: int, progress: bool
) -> Iterator[Any]:
    """What is written of each scene, in order."""
    shown = {'total': len(jobs), 'desc': 'lidarsim', 'unit': 'scene', 'disable': not progress}
    if workers <= 1:
        yield from tqdm(map(write, jobs), **shown)
        return
    ignore_interrupt = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(
        workers, get_context('spawn'), initializer=signal.signal, initargs=ignore_interrupt
    ) as pool:
        yield from tqdm(pool.map(write, jobs), **shown)


def _write_kitti_scene(job: tuple) -> list[int]:
    root, part, name, first, parameters = job
    return KittiSceneWriter(
        root, part, name, first, parameters.seed, parameters.frames, parameters.azimuths
    ).run()


def _write_scene(job: tuple) -> dict[str, list[dict]]:
    root, name, number, parameters = job
    return SceneWriter(
        root,
        name,
        number,
        parameters.seed,
        parameters.frames,
        parameters.sweeps,
        parameters.azimuths,
    ).run()


def _write_map(root: Path, seed: int, logs: list[dict]) -> dict:
    """A small blank map image that covers every log."""
    from PIL import Image

    name = token(seed, 'map')
    Image.new('L', (16, 16), 255).save(root / 'maps' / f'{name}.png')
    return {
        'token': name,
        'category': 'semantic_prior',
        'filename': f'maps/{name}.png',
        'log_tokens': [log['token'] for log in logs],
    }
