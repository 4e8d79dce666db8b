"""Write one HTML page that shows what runs were worth: results, curves, pictures, features.

Takes one run, or teacher, student alone and distilled side by side; which is which is read off
their configs. What is missing (no validation yet, a run stopped half-way, only a log) leaves a
line that says so.

Example:
    python tools/report.py work_dirs/demo --out report.html
    python tools/report.py 'with CRD=work_dirs/crd' teacher=work_dirs/big --out report.html
    python tools/report.py work_dirs/crd/20250101_000000/20250101_000000.log --out report.html
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from functools import partial
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import end_with_a_sentence, prepare_process

prepare_process()

from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings

from mmdistill.report import Run, build_page, read_runs, render
from mmdistill.utils.files import written_whole


def main() -> None:
    args = parse_args()
    warnings.filterwarnings('ignore')
    logging.getLogger('torch').setLevel(logging.ERROR)
    MMLogger.get_instance('report', log_level='ERROR')
    with end_with_a_sentence():
        runs = read_runs(args.runs)
        import_packages(runs)
        page = build_page(
            runs,
            title=args.title,
            frames=args.frames,
            costs=read_costs(args.costs, runs) if args.costs else None,
            device=args.device,
            report=partial(print, flush=True),
            pictures=args.pictures,
        )
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(args.out) as partial_file:
            partial_file.write_text(render(page), encoding='utf-8')
    print(f'{args.out}: {", ".join(run.name for run in runs)}')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'runs', nargs='+', metavar='[NAME=]WORK_DIR', help='of a run, or of several; or a log file'
    )
    parser.add_argument('--out', type=Path, required=True, help='HTML file to write')
    parser.add_argument('--title', default='Distillation report', help='heading of the page')
    parser.add_argument(
        '--frames', type=int, default=24, help='validation samples to run the models on; 0: none'
    )
    parser.add_argument(
        '--costs', type=Path, help='JSON of compare_models.py, instead of measuring'
    )
    parser.add_argument('--pictures', type=Path, help='folder for the pictures as files, too')
    parser.add_argument('--device', help="of the models; default 'cuda' where there is one")
    return parser.parse_args()


def import_packages(runs: list[Run]) -> None:
    """Import what the configs name, and what knows the field of their models."""
    for run in runs:
        if run.cfg is not None:
            import_modules_from_strings(**(run.cfg.get('custom_imports') or {'imports': []}))
            init_default_scope(run.cfg.get('default_scope', 'mmengine'))
            if run.cfg.get('default_scope') == 'mmdet3d':
                import mmdistill3d.report  # noqa: F401  (boxes from above, precision by class)


def read_costs(path: Path, runs: list[Run]) -> dict[str, dict]:
    """Costs of runs by name, from what compare_models.py measured of their networks' configs."""
    content = json.loads(path.read_text())
    by_stem = {Path(config).stem: cost for config, cost in content.items()}
    return {run.name: by_stem[run.network] for run in runs if run.network in by_stem}


if __name__ == '__main__':
    main()
