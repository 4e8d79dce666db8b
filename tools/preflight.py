"""Tell in two minutes, on CPU or GPU, whether a training run will work.

Data set, samples, teacher weights and accuracy, links, one optimisation step, memory and time: a
line for each, OK, WARNING or FAILED, with what to do. What does not depend on a failure is checked
all the same; without the data set a made-up batch is trained on. What does not apply to a model is
SKIPPED, with the reason. Exit status 1 if anything failed.

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
from tools._start import end_with_a_sentence, prepare_process

prepare_process()

from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmdistill.apis import add_cfg_options, load_config
from mmdistill.apis.preflight import Verdict, preflight, sum_up


def main() -> int:
    args = parse_args()
    warnings.filterwarnings('ignore')
    with end_with_a_sentence():
        cfg = load_config(args.config, args.cfg_options)
    logging.getLogger('torch').setLevel(logging.ERROR)
    MMLogger.get_instance('preflight', log_level='ERROR')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    if cfg.get('default_scope') == 'mmdet3d':
        import mmdistill3d.apis  # noqa: F401  (made-up frames and accuracy of 3D detectors)
    start, findings = time.perf_counter(), []
    for check, finding in preflight(cfg):
        print(finding.as_text(check), flush=True)
        findings.append(finding)
    print(f'\n{sum_up(findings, time.perf_counter() - start, get_device())}')
    return int(any(finding.verdict is Verdict.FAILED for finding in findings))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='path of the config file')
    add_cfg_options(parser)
    return parser.parse_args()


if __name__ == '__main__':
    sys.exit(main())
