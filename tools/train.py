"""Train a detector, or a student under a teacher, from a config.

Example:
    python tools/train.py configs/distill/bevfusion_crd_mini.py --work-dir work_dirs/crd
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._common import (
    ROOT,
    check_checkpoint,
    check_data,
    check_teachers,
    prepare_process,
    process_group,
)

prepare_process()

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log

from mmdistill.utils.checkpoint import allow_mmengine_checkpoints
from tools._run import add_run_arguments, build_runner, read_config


def main() -> None:
    args = parse_args()
    try:
        cfg = load_config(args)
        if args.preflight:
            require_preflight(cfg)
        check_data(cfg, loaders=('train_dataloader', 'val_dataloader'))
        check_teachers(cfg)
        if cfg.get('load_from'):
            check_checkpoint(cfg.load_from)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'{type(error).__name__}: {error}')
    allow_mmengine_checkpoints()
    with process_group(cfg):
        build_runner(cfg).train()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('--amp', action='store_true', help='train with mixed precision')
    parser.add_argument(
        '--sync_bn',
        '--sync-bn',
        choices=['none', 'torch', 'mmcv'],
        default='none',
        help="convert batch norms to torch's or mmcv's SyncBatchNorm",
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by real batch size / auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from CHECKPOINT, or without a value from the latest one in the work dir',
    )
    parser.add_argument(
        '--preflight',
        action='store_true',
        help='check first, in two minutes, that the run will work',
    )
    add_run_arguments(parser, example='model.student.bbox_head.num_proposals=100')
    return parser.parse_args()


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and lay the command line over it.

    Raises:
        FileNotFoundError: the config file does not exist.
        ValueError: the config does not allow what an option asks for.
    """
    cfg = read_config(args)
    if args.amp:
        enable_amp(cfg)
    if args.sync_bn != 'none':
        cfg.sync_bn = args.sync_bn
    if args.auto_scale_lr:
        if not {'enable', 'base_batch_size'} <= set(cfg.get('auto_scale_lr') or {}):
            raise ValueError(
                f'--auto-scale-lr needs auto_scale_lr=dict(enable=..., base_batch_size=...) '
                f'in {args.config}.'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    return cfg


def require_preflight(cfg: Config) -> None:
    """Stop unless tools/preflight.py finds that the run will work.

    It is another process, so that neither its memory nor its random numbers are left to the run.
    Of several processes the first one checks, and the others wait for it in the process group.
    """
    if int(os.environ.get('RANK', 0)):
        return
    with TemporaryDirectory() as folder:
        config = Path(folder) / 'config.py'
        cfg.dump(config)
        checked = subprocess.run([sys.executable, ROOT / 'tools' / 'preflight.py', config])
    if checked.returncode:
        sys.exit('--preflight: training was not started.')


def enable_amp(cfg: Config) -> None:
    """Turn the config's ``OptimWrapper`` into an ``AmpOptimWrapper``.

    Raises:
        ValueError: the config uses another wrapper, or this machine has no GPU.
    """
    if get_device() == 'cpu':
        raise ValueError("--amp needs a GPU: MMEngine's AmpOptimWrapper does not run on the CPU.")
    wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if wrapper == 'AmpOptimWrapper':
        print_log('--amp: the config trains with mixed precision already.', logger='current')
        return
    if wrapper != 'OptimWrapper':
        raise ValueError(
            f"--amp needs optim_wrapper.type='OptimWrapper', the config has {wrapper!r}."
        )
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


if __name__ == '__main__':
    main()
