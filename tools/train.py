"""Train a detector, or a student under a teacher, from a config.

Example:
    python tools/train.py configs/distill/bevfusion_crd_mini.py --work-dir work_dirs/crd
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import ROOT, end_with_a_sentence, prepare_process

prepare_process()

from mmengine.config import Config

from mmdistill import apis
from mmdistill.utils.work_dir import only_run_in


def main() -> None:
    args = parse_args()
    with end_with_a_sentence(), ExitStack() as kept:
        cfg = apis.read_config(args)
        apis.set_train_options(cfg, args.amp, args.sync_bn, args.auto_scale_lr, args.resume)
        if args.preflight:
            require_preflight(cfg)
        apis.check_data(cfg, loaders=('train_dataloader', 'val_dataloader'))
        apis.check_teachers(cfg)
        if cfg.get('load_from'):
            apis.check_checkpoint(cfg.load_from)
        kept.enter_context(only_run_in(cfg.work_dir))
        work_dir = kept.pop_all()
    with work_dir, apis.process_group(cfg):
        apis.write_origin(cfg.work_dir)
        apis.log_to_tensorboard(cfg)
        apis.build_runner(cfg).train()


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
    apis.add_run_arguments(parser, example='model.student.bbox_head.num_proposals=100')
    return parser.parse_args()


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


if __name__ == '__main__':
    main()
