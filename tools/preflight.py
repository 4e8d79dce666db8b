"""Tell in two minutes, on CPU or GPU, whether a training run will work.

Data set, samples, teacher weights and accuracy, links, one optimisation step, memory and time: a
line for each, OK, WARNING or FAILED, with what to do. What does not depend on a failure is checked
all the same; without the data set a made-up batch is trained on. Exit status 1 if anything failed.

Example:
    python tools/preflight.py configs/distill/bevfusion_crd.py
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._common import check_config, prepare_process

prepare_process()

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmdistill.utils.checkpoint import allow_mmengine_checkpoints
from tools._preflight.accuracy import check_accuracy
from tools._preflight.data import check_files, check_samples
from tools._preflight.findings import Verdict, report
from tools._preflight.model import check_model, check_parts, check_start, check_teacher_weights
from tools._preflight.state import State
from tools._preflight.training import check_cost, check_step
from tools._run import add_cfg_options

CHECKS = {
    'data': check_files,
    'samples': check_samples,
    'model': check_model,
    'teacher': check_teacher_weights,
    'start': check_start,
    'parts': check_parts,
    'accuracy': check_accuracy,
    'step': check_step,
    'cost': check_cost,
}


def main() -> int:
    args = parse_args()
    warnings.filterwarnings('ignore')
    try:
        check_config(args.config)
    except FileNotFoundError as error:
        sys.exit(f'FileNotFoundError: {error}')
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    logging.getLogger('torch').setLevel(logging.ERROR)
    MMLogger.get_instance('preflight', log_level='ERROR')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    allow_mmengine_checkpoints()
    return preflight(cfg)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='path of the config file')
    add_cfg_options(parser)
    return parser.parse_args()


def preflight(cfg: Config) -> int:
    """Make every check of a config, print what each found, and return the exit status."""
    start = time.perf_counter()
    state = State(cfg)
    verdicts = [
        verdict
        for name, check in CHECKS.items()
        for verdict in report(name, lambda check=check: check(state))
    ]
    failures, warned = verdicts.count(Verdict.FAILED), verdicts.count(Verdict.WARNING)
    print(
        f'\n{failures} failed, {warned} to look at, in {time.perf_counter() - start:.0f} s on '
        f'{state.device}: {"the run will not work" if failures else "the run can start"}.'
    )
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
