"""Start-up checks: what a run needs is there, or the error names the command that makes it."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdistill.utils.dataset import check_info_file
from mmdistill.utils.run_checkpoint import resolve_checkpoint

REPOSITORY = Path(__file__).resolve().parents[3]
"""Has ``configs/`` in a clone; installed elsewhere, no config is suggested."""

EMBEDDED = ('lidarsim', 'videosim')
"""Embedded data sets. NAME is made by tools/create_NAME.py; the package NAME has
``verify_dataset(root)``, and leaves NAME.json where a data set is complete."""

_MINI_RUN = 'python tools/train.py configs/distill/bevfusion_crd_mini.py'


def check_data(cfg: Mapping[str, Any], loaders: Sequence[str]) -> None:
    """Check that the data sets of the named data loaders are there, and whole where one can tell.

    Args:
        cfg (Mapping): the run's config.
        loaders (Sequence[str]): keys of it, such as ``'train_dataloader'``; one that is absent or
            None is passed over.

    Raises:
        FileNotFoundError: naming the missing files and the commands that make them.
        ValueError: an info file is of an old format, or the embedded data set was made by another
            version of its generator.
    """
    missing: dict[str, list[str]] = {}
    for loader in loaders:
        for dataset in _leaf_datasets((cfg.get(loader) or {}).get('dataset')):
            files = _info_files(dataset)
            absent = [file for file in files if not file.exists()]
            for file in absent:
                named = missing.setdefault(str(dataset.get('data_root') or file.parent), [])
                if str(file) not in named:
                    named.append(str(file))
            if dataset.get('ann_file') and files and files[0] not in absent:
                check_info_file(files[0])
            name = _embedded(dataset.get('data_root'))
            if name and not absent:
                # A generator that was killed leaves info files too: ask the set's own manifest.
                importlib.import_module(name).verify_dataset(dataset['data_root'])
    if missing:
        raise FileNotFoundError('\n'.join(_missing_data(*item) for item in missing.items()))


def check_teachers(cfg: Mapping[str, Any]) -> None:
    """Check that every teacher checkpoint that is a local file exists.

    Args:
        cfg (Mapping): the run's config; ``cfg.model`` may hold ``teacher`` or ``teachers``.

    Raises:
        FileNotFoundError: naming the file and the command that trains it.
    """
    for key, teacher in _teachers(cfg.get('model') or {}):
        checkpoint = teacher.get('checkpoint')
        if not isinstance(checkpoint, str) or '://' in checkpoint or _is_there(checkpoint):
            continue
        config = teacher.get('config')
        trains = (
            f'Train it:\n    python tools/train.py {config} --work-dir {Path(checkpoint).parent}'
            if isinstance(config, str)
            else f'Train it with the config given as model.{key}.config.'
        )
        # train.py writes epoch_N.pth or iter_N.pth, whatever name the config waits for; RUN/best
        # and RUN/last stand for files of the run.
        named = (
            'or name another one'
            if Path(checkpoint).name.startswith(('epoch_', 'iter_', 'best', 'last'))
            else 'and name the checkpoint that it writes, or another one'
        )
        raise FileNotFoundError(
            f'The teacher checkpoint {checkpoint!r} does not exist '
            f'(seen from {Path.cwd()}). {trains}\n'
            f'{named}:\n    --cfg-options model.{key}.checkpoint=PATH_OR_URL'
        )


def check_config(path: str) -> None:
    """Check that a config file named on the command line exists.

    Args:
        path (str): a local path.

    Raises:
        FileNotFoundError: naming the path, and configs of this repository with a similar name.
    """
    if Path(path).is_file():
        return
    configs = {
        p.stem: str(p.relative_to(REPOSITORY))
        for p in sorted((REPOSITORY / 'configs').rglob('*.py'))
    }
    similar = difflib.get_close_matches(Path(path).stem, configs, n=3, cutoff=0.5)
    hint = f'Similar: {", ".join(configs[name] for name in similar)}.' if similar else ''
    if not Path(path).is_absolute() and (REPOSITORY / path).is_file():
        hint = f'It does below {REPOSITORY}: run from there.'
    raise FileNotFoundError(
        f'The config {path!r} does not exist (seen from {Path.cwd()}). {hint}'.rstrip()
    )


def check_checkpoint(path: str) -> None:
    """Check that a checkpoint named on the command line exists, if it is a local file.

    Args:
        path (str): a local path or a URL (``http://``, ``s3://``, ...).

    Raises:
        FileNotFoundError: naming the path and the checkpoints beside it.
    """
    if '://' in path or Path(path).is_file():
        return
    beside = sorted(str(p) for p in Path(path).parent.glob('*.pth'))
    found = f'Beside it: {", ".join(beside)}.' if beside else 'There is no *.pth beside it.'
    raise FileNotFoundError(f'The checkpoint {path!r} does not exist. {found}')


def _is_there(checkpoint: str) -> bool:
    try:
        return Path(resolve_checkpoint(checkpoint)).exists()
    except FileNotFoundError:
        return False


def _leaf_datasets(dataset: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the data sets under wrappers (CBGS, Repeat, ClassBalanced, Concat)."""
    if isinstance(dataset, (list, tuple)):
        for item in dataset:
            yield from _leaf_datasets(item)
    elif isinstance(dataset, Mapping):
        inner = dataset.get('datasets') or dataset.get('dataset')
        if inner is not None:
            yield from _leaf_datasets(inner)
        else:
            yield dataset


def _info_files(dataset: Mapping[str, Any]) -> list[Path]:
    """The annotation file of a data set, and the object database that its pipeline pastes from."""
    files = []
    if isinstance(dataset.get('ann_file'), str) and dataset['ann_file']:
        files.append(Path(dataset.get('data_root') or '') / dataset['ann_file'])
    for transform in dataset.get('pipeline') or ():
        sampler = transform.get('db_sampler') if isinstance(transform, Mapping) else None
        if sampler and sampler.get('info_path'):
            files.append(Path(sampler['info_path']))
    return [file for file in files if ':/' not in str(file)]  # s3:// and such are not ours to see


def _embedded(root: Any) -> str | None:
    """Name of the embedded data set that a folder is meant for."""
    if not isinstance(root, str):
        return None
    folder = Path(root)
    named = (n for n in EMBEDDED if folder.name.startswith(n) or (folder / f'{n}.json').exists())
    return next(named, None)


def _teachers(model: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The teachers of a model, each with its key in it."""
    one, several = model.get('teacher'), model.get('teachers')
    if isinstance(one, Mapping):
        yield 'teacher', one
    if isinstance(several, Mapping):
        for name, teacher in several.items():
            if isinstance(teacher, Mapping):
                yield f'teachers.{name}', teacher


def _missing_data(root: str, files: Sequence[str]) -> str:
    what = f'The data set at {root!r} has no {", ".join(files)} (seen from {Path.cwd()}).'
    for name in EMBEDDED:
        if name in root.lower():
            return f'{what}\nGenerate it:\n    python tools/create_{name}.py --out {root}'
    if 'kitti' in root.lower():
        return (
            f'{what}\n'
            'Put the KITTI object data set (ImageSets/, training/ and testing/ with velodyne/, '
            'calib/, image_2/ and label_2/) there or link it, and write the rest:\n'
            f'    python tools/create_data.py kitti --root-path {root.rstrip("/")}\n'
            'No KITTI here? An embedded data set has its form:\n'
            '    python tools/create_lidarsim.py --out data/lidarsim_kitti'
        )
    if 'nuscenes' not in root.lower():
        return f'{what}\nPrepare the info files there, or set data_root to where they are.'
    folder = root.rstrip('/')
    return (
        f'{what}\n'
        'Put the nuScenes download (samples/, sweeps/, maps/, v1.0-trainval/) there or link it:\n'
        f'    ln -s /path/to/nuscenes {folder}\n'
        'and write the info files and the object database (v1.0-mini: --version v1.0-mini):\n'
        f'    python tools/create_data.py nuscenes --root-path {folder} --version v1.0-trainval\n'
        'No nuScenes here? The mini config trains on the embedded data set, on any machine:\n'
        f'    python tools/create_lidarsim.py --out data/lidarsim\n    {_MINI_RUN}'
    )
