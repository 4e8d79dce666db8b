"""What train.py and test.py share once torch may be loaded: options, config and runner."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from tools._common import check_config


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


def read_config(args: argparse.Namespace) -> Config:
    """Read the config and lay the options of every run over it.

    Raises:
        FileNotFoundError: the config file does not exist.
    """
    check_config(args.config)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = f'./work_dirs/{Path(args.config).stem}'
    return cfg


def build_runner(cfg: Config) -> Runner:
    """Build the config's own type of runner, or MMEngine's."""
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
