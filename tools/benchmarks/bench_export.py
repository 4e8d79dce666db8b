"""Measure exports against torch: how near, how fast, how large, how accurate; write the tables.

Results are kept in a JSON file, section by section, so that it goes on where it was stopped.

Example:
    python tools/create_lidarsim.py --out data/lidarsim
    python tools/create_lidarsim.py --out data/lidarsim_dense --scenes 1 --val-scenes 1 \
        --frames 4 --sweeps 9 --azimuths 1080
    python tools/benchmarks/bench_export.py --student work_dirs/student/epoch_5.pth \
        --teacher work_dirs/teacher/epoch_5.pth --update-readme
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])
from tools._start import ROOT, end_with_a_sentence, prepare_process

prepare_process(keep_freed_memory=False)  # torch as it runs by itself

from deploy.measurements import SECTIONS, Networks
from deploy.tables import as_markdown, deploy_table, origin_of_deploy_table
from mmdistill.analysis.tables import describe_run, update_readme


def main() -> None:
    args = parse_args()
    results = json.loads(args.out.read_text()) if args.out.exists() else {}
    with end_with_a_sentence(), tempfile.TemporaryDirectory() as folder:
        networks = Networks(
            Path(folder),
            data=args.data,
            dense_data=args.dense_data,
            frames=args.frames,
            rounds=args.rounds,
            seed=args.seed,
            student=args.student,
            teacher=args.teacher,
            teacher_config=args.teacher_config,
        )
        demand_same_settings(results.get('run', {}), networks.describe(), args.out)
        for section in args.only:
            for name, measure in networks.rows(section).items():
                rows = results.setdefault(section, {})
                if (name in rows and not args.again) or (args.rows and name not in args.rows):
                    continue
                run = describe_run()
                rows[name] = {**measure(), 'commit': run['commit']}
                results['run'] = {**run, **networks.describe(), 'training': args.training}
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(results, indent=2) + '\n')
                print(section, name, json.dumps(rows[name]), flush=True)
    tables = as_markdown(results)
    print(tables)
    if args.update_readme and set(args.only) != {'deploy'}:
        update_readme(ROOT / 'projects/deploy/README.md', tables, marker='bench-export')
    if 'deploy' in args.only and results.get('deploy'):
        text = f'{deploy_table(results["deploy"])}\n\n{origin_of_deploy_table(results)}'
        print(text)
        if args.update_readme:
            update_readme(ROOT / 'README.md', text, marker='deploy-table')


def demand_same_settings(kept: dict, settings: dict, path: Path) -> None:
    """Demand that rows which are kept were measured as those to come: one footnote tells of all."""
    other = {key: kept[key] for key in settings if key in kept and kept[key] != settings[key]}
    if other:
        raise ValueError(
            f'{path} has rows measured with {other}, and these would be with '
            f'{ {key: settings[key] for key in other} }: choose the same, or another --out'
        )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--only', nargs='+', choices=SECTIONS, default=SECTIONS)
    parser.add_argument('--rows', nargs='+', help='of the sections, e.g. mini S; default: all')
    parser.add_argument('--data', type=Path, default='data/lidarsim')
    parser.add_argument('--dense-data', type=Path, default='data/lidarsim_dense')
    parser.add_argument('--frames', type=int, default=3, help='frames compared and timed')
    parser.add_argument('--rounds', type=int, default=7, help='how often each is timed')
    parser.add_argument('--seed', type=int, default=0, help='of random weights')
    parser.add_argument('--student', type=Path, help='trained checkpoint of the mini student')
    parser.add_argument('--teacher', type=Path, help='trained checkpoint of a teacher')
    parser.add_argument(
        '--teacher-config', default='configs/bevfusion/bevfusion_lidar_teacher_mini.py'
    )
    parser.add_argument('--training', default='', help='how they were trained, for the table')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/bench_export.json'))
    parser.add_argument('--again', action='store_true', help='measure what is there already')
    parser.add_argument('--update-readme', action='store_true', help='put the tables in place')
    return parser.parse_args()


if __name__ == '__main__':
    main()
