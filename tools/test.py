"""Evaluate a checkpoint with the metrics of a config, and draw its detections on request.

Example:
    python tools/test.py configs/distill/bevfusion_crd_mini.py work_dirs/crd/epoch_20.pth
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._common import (
    check_checkpoint,
    check_data,
    prepare_process,
    process_group,
)

prepare_process()

from mmengine.config import Config, ConfigDict

from mmdistill.utils.checkpoint import allow_mmengine_checkpoints
from tools._run import add_run_arguments, build_runner, read_config

TASKS = ['mono_det', 'multi-view_det', 'lidar_det', 'lidar_seg', 'multi-modality_det']


def main() -> None:
    args = parse_args()
    try:
        cfg = load_config(args)
        check_checkpoint(args.checkpoint)
        check_data(cfg, loaders=('test_dataloader',))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'{type(error).__name__}: {error}')
    allow_mmengine_checkpoints()
    with process_group(cfg):
        build_runner(cfg).test()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='path of the config file')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument('--show', action='store_true', help='show detections in a window')
    parser.add_argument('--show-dir', help='folder (under the work dir) for painted images')
    parser.add_argument('--score-thr', type=float, default=0.1, help='lowest score that is drawn')
    parser.add_argument('--task', choices=TASKS, help='what --show and --show-dir draw')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds between shown frames')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    add_run_arguments(parser, example='test_dataloader.batch_size=4')
    return parser.parse_args()


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and lay the command line over it.

    Raises:
        FileNotFoundError: the config file does not exist.
        ValueError: the config does not allow what an option asks for.
    """
    cfg = read_config(args)
    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        draw_detections(cfg, args)
    if args.tta:
        if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
            raise ValueError(f'--tta needs tta_model and tta_pipeline in {args.config}.')
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    return cfg


def draw_detections(cfg: Config, args: argparse.Namespace) -> None:
    """Switch the config's visualisation hook on.

    Raises:
        ValueError: there is no such hook, or ``--task`` was not given.
    """
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise ValueError(
            '--show and --show-dir need default_hooks.visualization in the config, e.g. '
            "dict(type='Det3DVisualizationHook')."
        )
    if args.task is None:
        raise ValueError(f'--show and --show-dir need --task, one of {", ".join(TASKS)}.')
    try:
        import open3d  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f'--show and --show-dir draw by open3d, which does not load here ({error}); '
            'tools/visualize.py draws frames from above without it.'
        ) from error
    hook.update(draw=True, vis_task=args.task, score_thr=args.score_thr)
    if args.show:
        hook.update(show=True, wait_time=args.wait_time)
    if args.show_dir:
        hook.update(test_out_dir=args.show_dir)


if __name__ == '__main__':
    main()
