"""Train every run of a protocol and write its table: means, deviations, intervals of differences.

What is finished is not done again, so the same command goes on after a stop, takes over what an
earlier protocol of the same work dir has trained, and adds seeds.

Example:
    python tools/create_lidarsim.py --out data/lidarsim_large
    python tools/benchmarks/run_protocol.py configs/distill/protocols/bevfusion_mini.py --parallel 2
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])
from tools._start import ROOT, prepare_process

prepare_process()

from mmengine.config import Config

from mmdistill.analysis.protocol import Protocol, Run, as_markdown, gather
from mmdistill.analysis.tables import describe_run, update_readme
from mmdistill.apis.config import moved_paths
from mmdistill.apis.progress import Progress
from mmdistill.apis.stages import Pipeline, Stage, StageError
from mmdistill.utils.files import sha256, written_whole


def main() -> None:
    args = parse_args()
    os.chdir(ROOT)
    try:
        protocol = Protocol.from_file(args.protocol).shortened(args.seeds, args.epochs)
        pipeline = run(protocol, args)
    except (StageError, FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print('\nStopped. The same command again goes on from here.', file=sys.stderr)
        sys.exit(130)
    runs = [r for r in protocol.runs(args.work_dir) if pipeline.is_finished(r.name)]
    rows = gather(protocol, runs, args.work_dir)
    origin = describe_run()
    table = f'{as_markdown(protocol, rows)}\n{signature(args, origin)}\n'
    base = args.work_dir / args.protocol.stem
    base.with_suffix('.json').write_text(json.dumps({**origin, 'rows': rows}, indent=2) + '\n')
    base.with_suffix('.md').write_text(table)
    print(f'\n{table}\nIn {base}.md and {base}.json.')
    if args.update_readme:
        update_readme(args.update_readme, table, marker=args.protocol.stem.replace('_', '-'))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('protocol', type=Path, help='config file with `protocol`')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/protocol'))
    parser.add_argument(
        '--seeds', type=int, nargs='+', help="instead of the protocol's; teachers' stay"
    )
    parser.add_argument('--epochs', type=int, help='of every run: a short try')
    parser.add_argument('--data-root', help='folder of the data set that all rows read')
    parser.add_argument('--parallel', type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument(
        '--teacher-cache', type=Path, help='folder: what teachers compute, once a seed for all rows'
    )
    parser.add_argument('--report-only', action='store_true', help='of what is finished; no runs')
    parser.add_argument('--update-readme', type=Path, help='Markdown file with <!-- NAME -->')
    return parser.parse_args()


def run(protocol: Protocol, args: argparse.Namespace) -> Pipeline:
    """Train what can be planned; and again, with the rows whose length is known by then."""
    planned: list[Run] = []
    while True:
        runs = protocol.runs(args.work_dir)
        timed = protocol.timed_runs()
        stages = [stage(item, args, item.name not in timed) for item in runs]
        state_dir = args.work_dir / 'stages'
        pipeline = Pipeline(stages, state_dir, args.parallel, env={'PYTHONUNBUFFERED': '1'})
        if args.report_only or len(runs) == len(planned):
            return pipeline
        verbose = os.environ.get('VERBOSE') == '1'
        pipeline.watcher = progress = Progress(stages, {}, args.parallel, state_dir, verbose)
        notes = {item.name: item.row.label for item in runs}
        progress.plan(notes, [name for name in notes if pipeline.is_finished(name)])
        pipeline.run()
        planned = runs


def stage(item: Run, args: argparse.Namespace, may_cache: bool) -> Stage:
    """One training run with its validation at the end, from a config of its own."""
    folder = args.work_dir / item.name
    cfg = Config.fromfile(item.row.config, import_custom_modules=False)
    cfg.merge_from_dict(dict(item.options))
    if args.data_root is not None:
        old, new = cfg.data_root.rstrip('/'), args.data_root.rstrip('/')
        cfg.merge_from_dict(moved_paths(cfg.to_dict(), old, new))
    content = text = cfg.pretty_text  # by which a run is known
    if args.teacher_cache and may_cache and 'teacher' in cfg.model:  # the result is the same
        cfg.model.teacher.cache = str(args.teacher_cache)
        text = cfg.pretty_text
    config = args.work_dir / 'configs' / f'{item.name}.py'
    config.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(config) as partial:  # another process may read it at this moment
        partial.write_text(text)
    # A teacher that is trained here is known by the run that it is from.
    checkpoint = cfg.model.get('teacher', {}).get('checkpoint') if not item.needs else None
    weights = checkpoint and sha256(Path(checkpoint))
    return Stage(
        item.name,
        [sys.executable, 'tools/train.py', str(config), '--resume', '--work-dir', str(folder)],
        outputs=[folder / f'epoch_{item.epochs}.pth'],
        needs=item.needs,
        key={'config': content, 'teacher': weights},
        folder=folder,
    )


def signature(args: argparse.Namespace, origin: dict[str, str]) -> str:
    return (
        f'Measured by `tools/benchmarks/run_protocol.py {args.protocol}` at commit '
        f'{origin["commit"]} on {origin["date"]}: {origin["machine"]}, {origin["device"]}, torch '
        f'{origin["torch"]}. Last checkpoints; mean ± deviation over seeds; gains are means of '
        'the differences between runs of equal seed, with their 95 % interval; minutes are those '
        'of the fastest run that had no answers of the teacher from a cache.'
    )


if __name__ == '__main__':
    main()
