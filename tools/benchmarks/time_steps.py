"""Time training steps and predictions of configs on made-up batches, with random weights.

Needs no data set. What `make demo` plans with.

Example:
    python tools/benchmarks/time_steps.py configs/distill/bevfusion_best_mini.py
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path

BEGAN = time.monotonic()
sys.path[0] = str(Path(__file__).resolve().parents[2])
from tools._start import end_with_a_sentence, prepare_process

prepare_process()

from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmdistill.apis import add_cfg_options, load_config
from mmdistill.apis.plan import time_config


def main() -> None:
    args = parse_args()
    warnings.filterwarnings('ignore')
    logging.getLogger('torch').setLevel(logging.ERROR)
    MMLogger.get_instance('time_steps', log_level='ERROR')
    with end_with_a_sentence():
        configs = {path: load_config(path, args.cfg_options) for path in args.configs}
        scopes = {cfg.get('default_scope', 'mmengine') for cfg in configs.values()}
        if 'mmdet3d' in scopes:
            import mmdistill3d.apis  # noqa: F401  (made-up frames of 3D detectors)
        start_s = time.monotonic() - BEGAN
        paces = {}
        for path, cfg in configs.items():
            init_default_scope(cfg.get('default_scope', 'mmengine'))
            paces[path] = asdict(time_config(cfg))
            step, predict = paces[path].values()
            print(f'{path}: {step:.3f} s a step, {predict:.3f} s a prediction', flush=True)
    if args.out:
        args.out.write_text(json.dumps({'paces': paces, 'start_s': start_s}, indent=1) + '\n')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', help='paths of config files')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    add_cfg_options(parser, 'config entries to override in every config')
    return parser.parse_args()


if __name__ == '__main__':
    main()
