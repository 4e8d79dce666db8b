"""What the tools share before a Runner exists: environment and start-up checks.

Only the standard library is imported at the top, so that the thread settings made here come
before torch is loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import difflib
import gc
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt, in malloc.h

_MINI_RUN = 'python tools/train.py configs/distill/bevfusion_crd_mini.py'


def prepare_process(keep_freed_memory: bool = True) -> None:
    """Set the paths and threads of this process; call it before torch is imported.

    ``projects/`` goes on ``sys.path``, so that a plain clone works without being installed. Idle
    OpenMP threads sleep instead of spinning, and without a GPU a process takes one thread unless
    ``OMP_NUM_THREADS`` says otherwise: spinning threads that share cores are many times slower;
    freed memory is kept.

    Args:
        keep_freed_memory (bool): False leaves glibc's own way, for benchmarks of it.
    """
    projects = str(ROOT / 'projects')
    if projects not in sys.path:
        sys.path.insert(0, projects)
    # spconv 2.3 decorates its functions with names that torch >= 2.4 calls old, on every import.
    warnings.filterwarnings('ignore', category=FutureWarning, module='spconv')
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    if not _may_have_gpu():
        threads = os.environ.setdefault('OMP_NUM_THREADS', '1')
        os.environ.setdefault('MKL_NUM_THREADS', threads)
        os.environ.setdefault('OPENBLAS_NUM_THREADS', threads)
        if keep_freed_memory:
            _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc keep what tensors free, for the next ones.

    By default it gives large blocks back, and each new feature map is faulted in page by page: a
    tenth of a training step's time on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:  # another C library has none
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


@contextlib.contextmanager
def process_group(cfg: Any) -> Iterator[None]:
    """Let a run join its process group on any machine, and leave it in order at the end.

    Under a ``pytorch`` launcher without CUDA the group is made here, by gloo: MMEngine selects a
    CUDA device on its way to ``init_process_group`` and hands DDP the device's number, and both
    fail on the CPU. At the end the group goes before the interpreter does: gloo's threads, which
    live as long as a DDP model holds the group, can abort a process that is shutting down. So keep
    no reference to the runner outside the block.

    Args:
        cfg (mmengine.Config): the run's config; ``model_wrapper_cfg`` is completed in place.
    """
    from torch import cuda, distributed

    if cfg.get('launcher') == 'pytorch' and not cuda.is_available():
        distributed.init_process_group(backend='gloo')
        wrapper = cfg.get('model_wrapper_cfg') or {
            'type': 'MMDistributedDataParallel',
            'broadcast_buffers': False,
            'find_unused_parameters': cfg.get('find_unused_parameters', False),
        }
        cfg.model_wrapper_cfg = {**wrapper, 'device_ids': None}
    yield
    if distributed.is_initialized():
        distributed.barrier()
        gc.collect()
        distributed.destroy_process_group()


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
    from mmdistill.utils.dataset import check_info_file

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
            if not absent and _is_lidarsim(dataset):
                _check_lidarsim(dataset['data_root'])
    if missing:
        raise FileNotFoundError('\n'.join(_missing_data(*item) for item in missing.items()))


def check_teachers(cfg: Mapping[str, Any]) -> None:
    """Check that every teacher checkpoint that is a local file exists.

    Args:
        cfg (Mapping): the run's config; ``cfg.model`` may hold ``teacher`` or ``teachers``.

    Raises:
        FileNotFoundError: naming the file and the command that trains it.
    """
    for teacher in _teachers(cfg.get('model') or {}):
        checkpoint = teacher.get('checkpoint')
        if not isinstance(checkpoint, str) or '://' in checkpoint or Path(checkpoint).exists():
            continue
        config = teacher.get('config')
        trains = (
            f'Train it:\n    python tools/train.py {config} --work-dir {Path(checkpoint).parent}'
            if isinstance(config, str)
            else 'Train it with the config given as model.teacher.config.'
        )
        # train.py writes epoch_N.pth or iter_N.pth, whatever name the config waits for.
        named = (
            'or name another one'
            if Path(checkpoint).name.startswith(('epoch_', 'iter_'))
            else 'and name the checkpoint that it writes, or another one'
        )
        raise FileNotFoundError(
            f'The teacher checkpoint {checkpoint!r} does not exist '
            f'(seen from {Path.cwd()}). {trains}\n'
            f'{named}:\n    --cfg-options model.teacher.checkpoint=PATH_OR_URL'
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
    configs = {p.stem: str(p.relative_to(ROOT)) for p in sorted((ROOT / 'configs').rglob('*.py'))}
    similar = difflib.get_close_matches(Path(path).stem, configs, n=3, cutoff=0.5)
    hint = f'Similar: {", ".join(configs[name] for name in similar)}.' if similar else ''
    if not Path(path).is_absolute() and (ROOT / path).is_file():
        hint = f'It does below {ROOT}: run from there.'
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


def _may_have_gpu() -> bool:
    """Guess without torch whether CUDA is there: torch must not be loaded yet."""
    if os.environ.get('CUDA_VISIBLE_DEVICES') in ('', '-1'):
        return False
    return Path('/dev/nvidia0').exists() or Path('/dev/nvidiactl').exists()


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


def _is_lidarsim(dataset: Mapping[str, Any]) -> bool:
    root = Path(str(dataset.get('data_root')))
    return root.name.startswith('lidarsim') or (root / 'lidarsim.json').exists()


def _check_lidarsim(root: str) -> None:
    """A generator that was killed leaves info files too: ask the data set's own manifest."""
    from lidarsim import verify_dataset

    verify_dataset(root)


def _teachers(model: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for key in ('teacher', 'teachers'):
        value = model.get(key)
        if not isinstance(value, Mapping):
            continue
        if 'checkpoint' in value:
            yield value
        else:
            yield from (item for item in value.values() if isinstance(item, Mapping))


def _missing_data(root: str, files: Sequence[str]) -> str:
    what = f'The data set at {root!r} has no {", ".join(files)} (seen from {Path.cwd()}).'
    name = root.lower()
    if 'lidarsim' in name:
        return f'{what}\nGenerate it:\n    python tools/create_lidarsim.py --out {root}'
    if 'nuscenes' not in name:
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
