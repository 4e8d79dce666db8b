"""Configs as commands read them: a file, the command line over it, entries moved elsewhere."""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.device import get_device
from mmengine.logging import print_log

from mmdistill.apis.checks import check_config


def add_run_arguments(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the options of every run.

    Args:
        parser (argparse.ArgumentParser): gets the options.
        example (str): of a config entry, for the help of ``--cfg-options``.
    """
    parser.add_argument('--work-dir', help='folder for logs and what the run writes')
    add_cfg_options(parser, f'config entries to override, e.g. {example}')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def add_cfg_options(
    parser: argparse.ArgumentParser, text: str = 'config entries to override'
) -> None:
    """Add ``--cfg-options``, with a text of its own for ``--help``."""
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help=text
    )


def load_config(path: str, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config file and lay entries over it.

    Raises:
        FileNotFoundError: there is no such file.
    """
    check_config(path)
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(dict(options or {}))
    return cfg


def read_config(args: argparse.Namespace) -> Config:
    """Read the config and lay the options of every run over it.

    Raises:
        FileNotFoundError: the config file does not exist.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = load_config(args.config)
    cfg.launcher = args.launcher
    cfg.merge_from_dict(args.cfg_options or {})
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = f'./work_dirs/{Path(args.config).stem}'
    return cfg


def set_train_options(
    cfg: Config,
    amp: bool = False,
    sync_bn: str = 'none',
    auto_scale_lr: bool = False,
    resume: str | None = None,
) -> None:
    """Change a config in place as the options of training ask for.

    Args:
        cfg (Config): of the run.
        amp (bool): train with mixed precision.
        sync_bn (str): ``'torch'`` or ``'mmcv'`` convert batch norms, ``'none'`` leaves them.
        auto_scale_lr (bool): scale the learning rate by the real batch size.
        resume (str, optional): a checkpoint, or ``'auto'`` for the latest in the work dir.

    Raises:
        ValueError: the config does not allow what an option asks for.
    """
    if amp:
        _enable_amp(cfg)
    if sync_bn != 'none':
        cfg.sync_bn = sync_bn
    if auto_scale_lr:
        if not {'enable', 'base_batch_size'} <= set(cfg.get('auto_scale_lr') or {}):
            raise ValueError(
                f'--auto-scale-lr needs auto_scale_lr=dict(enable=..., base_batch_size=...) '
                f'in {cfg.filename}.'
            )
        cfg.auto_scale_lr.enable = True
    if resume == 'auto':
        resume_latest(cfg)
    elif resume is not None:
        cfg.resume, cfg.load_from = True, resume


def log_to_tensorboard(cfg: Config) -> None:
    """Let a run write its scalars for TensorBoard, too, under their names in the log.

    Nothing changes where TensorBoard is not installed, or the config names visualisation backends
    of its own choice.

    Args:
        cfg (Config): of the run, changed in place.
    """
    if importlib.util.find_spec('tensorboard') is None:
        return
    visualizer = cfg.get('visualizer') or ConfigDict(type='Visualizer')
    backends = visualizer.get('vis_backends') or [dict(type='LocalVisBackend')]
    if [backend['type'] for backend in backends] == ['LocalVisBackend']:
        visualizer.vis_backends = [*backends, dict(type='TensorboardVisBackend')]
        cfg.visualizer = visualizer


def resume_latest(cfg: Config) -> None:
    """Let a run go on from the last checkpoint in its work dir, or begin as the config says.

    ``load_from`` counts where there is nothing to go on from: MMEngine's ``resume=True`` would take
    that file for the interrupted run, and MMDetection3D's ``--resume`` forgets it, so that a run
    meant to start from trained weights starts at random.

    Args:
        cfg (Config): of the run, with its ``work_dir``.
    """
    cfg.resume = (Path(cfg.work_dir) / 'last_checkpoint').is_file()
    if cfg.resume:
        cfg.load_from = None


def set_test_options(cfg: Config, checkpoint: str, tta: bool = False) -> None:
    """Change a config in place as the options of an evaluation ask for.

    Args:
        cfg (Config): of the run.
        checkpoint (str): path or URL of the weights.
        tta (bool): use test-time augmentation.

    Raises:
        ValueError: the config has no test-time augmentation.
    """
    cfg.load_from = checkpoint
    if tta:
        if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
            raise ValueError(f'--tta needs tta_model and tta_pipeline in {cfg.filename}.')
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def moved_paths(value: Any, old_root: str, new_root: str, key: str = '') -> dict[str, str]:
    """Find every entry that is a path under a folder, with that folder replaced.

    Returns:
        dict: dotted key (with list positions as numbers) to the new path.
    """
    if isinstance(value, str):
        inside = value == old_root or value.startswith(f'{old_root}/')
        return {key: new_root + value[len(old_root) :]} if inside else {}
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, (list, tuple)):
        items = list(enumerate(value))
    else:
        return {}
    moved: dict[str, str] = {}
    for name, inner in items:
        moved |= moved_paths(inner, old_root, new_root, f'{key}.{name}' if key else str(name))
    return moved


def as_arguments(options: Mapping[str, Any]) -> list[str]:
    """Config entries as command-line arguments."""
    return ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]


def _enable_amp(cfg: Config) -> None:
    """Turn the config's ``OptimWrapper`` into an ``AmpOptimWrapper``."""
    if get_device() == 'cpu':
        raise ValueError("--amp needs a GPU: MMEngine's AmpOptimWrapper does not run on the CPU.")
    wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
    wrapper = wrapper if isinstance(wrapper, str) else wrapper.__name__
    if wrapper == 'AmpOptimWrapper':
        print_log('--amp: the config trains with mixed precision already.', logger='current')
        return
    if wrapper != 'OptimWrapper':
        raise ValueError(
            f"--amp needs optim_wrapper.type='OptimWrapper', the config has {wrapper!r}."
        )
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
