"""Compare distillation configs: one student, one teacher, one schedule, several seeds.

Trains the student alone and once for each config and seed, and writes mAP and NDS on the held-out
frames as JSON, a Markdown table and a picture. What is finished is not done again, so the same
command goes on after a stop, and takes over earlier runs when configs are added.

Example:
    python tools/benchmarks/ablate_losses.py
    python tools/benchmarks/ablate_losses.py configs/distill/losses/channel.py:pkd --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])
from tools._start import ROOT, prepare_process

prepare_process()

from mmengine.config import Config

from mmdistill.analysis.results import find_accuracy, last_validation
from mmdistill.analysis.tables import describe_run, update_readme
from mmdistill.apis.stages import Pipeline, Stage, StageError

ALONE = 'configs/bevfusion/bevfusion_lidar_student_mini.py'
TEACHER = 'configs/bevfusion/bevfusion_lidar_teacher_mini.pth'
FOLDERS = ('configs/distill/losses', 'configs/distill/combinations')


def main() -> None:
    args = parse_args()
    os.chdir(ROOT)
    if not args.teacher.exists():
        sys.exit(
            f'There is no teacher at {args.teacher}; name a checkpoint of '
            'configs/bevfusion/bevfusion_lidar_teacher_mini.py: --teacher FILE'
        )
    configs = [ALONE, *(args.configs or default_configs())]
    runs = [(config, seed) for seed in args.seeds for config in configs]
    pipeline = Pipeline(
        [stage(config, seed, args) for config, seed in runs],
        state_dir=args.work_dir / 'stages',
        parallel=args.parallel,
        env={'PYTHONUNBUFFERED': '1'},
    )
    if not args.report_only:
        try:
            pipeline.run()
        except StageError as error:
            sys.exit(str(error))
        except KeyboardInterrupt:
            print('\nStopped. The same command again goes on from here.', file=sys.stderr)
            sys.exit(130)
    finished = [(c, s) for c, s in runs if pipeline.is_finished(run_name(c, s))]
    report = gather(finished, args)
    write(report, args)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        'configs',
        nargs='*',
        help=f'CONFIG, or CONFIG:LINK for one link alone; default: all of {FOLDERS}',
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    parser.add_argument('--epochs', type=int, default=2, help='length of the one-cycle schedule')
    parser.add_argument('--teacher', type=Path, default=Path(TEACHER), help='its checkpoint')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/ablation'))
    parser.add_argument('--parallel', type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument('--report-only', action='store_true', help='of what is finished; no runs')
    parser.add_argument('--name', default='ablation', help='of the report, in --work-dir')
    parser.add_argument('--plot', type=Path, help='PNG to write; default beside the report')
    parser.add_argument(
        '--update-readme', type=Path, help='Markdown file with <!-- NAME --> markers'
    )
    return parser.parse_args()


def default_configs() -> list[str]:
    found = []
    for path in [p for folder in FOLDERS for p in sorted((ROOT / folder).glob('*.py'))]:
        name = str(path.relative_to(ROOT))
        links = link_weights(name)
        waiting = any(weight == 0 for weight in links.values())
        found += [f'{name}:{link}' for link in links] if waiting else [name]
    return found


def link_weights(config: str) -> dict[str, float]:
    """Weight of each link of a config file."""
    links = Config.fromfile(config, import_custom_modules=False).model.links
    return {name: link.get('weight', 1) for name, link in links.items() if link is not None}


def stage(config: str, seed: int, args: argparse.Namespace) -> Stage:
    """One training run, with the evaluation at its end."""
    folder = args.work_dir / run_name(config, seed)
    config, _, chosen = config.partition(':')
    links = {name: float(name == chosen) for name in link_weights(config)} if chosen else {}
    options = {
        **{f'model.links.{name}.weight': weight for name, weight in links.items()},
        'randomness.seed': seed,
        'train_cfg.max_epochs': args.epochs,
        'train_cfg.val_interval': args.epochs,
        'param_scheduler.0.total_steps': args.epochs,
        'default_hooks.checkpoint.max_keep_ckpts': 1,
    }
    if config != ALONE:
        options['model.teacher.checkpoint'] = str(args.teacher)
        # Runs of one seed see the same batches: the teacher computes each of them once.
        options['model.teacher.cache'] = str(args.work_dir / 'teacher_cache')
    return Stage(
        folder.name,
        [sys.executable, 'tools/train.py', config, '--resume', '--work-dir', str(folder)]
        + ['--cfg-options', *(f'{key}={value}' for key, value in options.items())],
        outputs=[folder / f'epoch_{args.epochs}.pth'],
        key={
            'config': repr(Config.fromfile(config, import_custom_modules=False).to_dict()),
            'teacher': None if config == ALONE else args.teacher.stat().st_mtime_ns,
        },
        folder=folder,
    )


def run_name(config: str, seed: int) -> str:
    return f'{label(config)}_seed{seed}'


def label(config: str) -> str:
    path, _, link = config.partition(':')
    return 'alone' if config == ALONE else link or Path(path).stem


def gather(runs: Sequence[tuple[str, int]], args: argparse.Namespace) -> dict[str, Any]:
    """Collect the accuracies of finished runs, best mean mAP first."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for config, seed in runs:
        accuracy = last_validation(args.work_dir / run_name(config, seed))
        found.setdefault(config, {})[str(seed)] = accuracy
    alone = found.get(ALONE, {})
    rows = []
    for config, by_seed in found.items():
        gains = [by_seed[s]['mAP'] - alone[s]['mAP'] for s in by_seed if s in alone]
        rows.append(
            {
                'name': label(config),
                'config': config,
                'seeds': by_seed,
                **{
                    key: statistics.mean(value[key] for value in by_seed.values())
                    for key in ('mAP', 'NDS')
                },
                'gain': statistics.mean(gains) if gains else None,
            }
        )
    rows.sort(key=lambda row: -row['mAP'])
    return {
        **describe_run(),
        'epochs': args.epochs,
        'seeds': args.seeds,
        'teacher': {'checkpoint': str(args.teacher), **teacher_accuracy(args.teacher)},
        'rows': rows,
    }


def teacher_accuracy(checkpoint: Path) -> dict[str, float]:
    """What the note beside shipped weights says, or the log of the run that saved a checkpoint."""
    note = checkpoint.with_suffix('.json')
    if note.exists():
        return find_accuracy(json.loads(note.read_text())['metrics'])
    return last_validation(checkpoint.parent)


def write(report: dict[str, Any], args: argparse.Namespace) -> None:
    """Write JSON, Markdown and the picture, and the README's table where one is named."""
    args.work_dir.mkdir(parents=True, exist_ok=True)
    base = args.work_dir / args.name
    base.with_suffix('.json').write_text(json.dumps(report, indent=2) + '\n')
    table = as_markdown(report)
    base.with_suffix('.md').write_text(table)
    plot(report, args.plot or base.with_suffix('.png'))
    print(table)
    if args.update_readme:
        update_readme(args.update_readme, table, marker=args.name)


def as_markdown(report: dict[str, Any]) -> str:
    """Format a report: means over seeds, and every single mAP."""
    lines = [
        '| config | mAP | gain over alone | NDS | mAP of each seed |',
        '|---|---:|---:|---:|---|',
        f'| *teacher* | {report["teacher"]["mAP"]:.3f} | | {report["teacher"]["NDS"]:.3f} | |',
    ]
    for row in report['rows']:
        gain = '' if row['name'] == 'alone' or row['gain'] is None else f'{row["gain"]:+.3f}'
        name = '*student alone*' if row['name'] == 'alone' else f'`{row["name"]}`'
        single = ', '.join(f'{value["mAP"]:.3f}' for value in row['seeds'].values())
        lines.append(f'| {name} | {row["mAP"]:.3f} | {gain} | {row["NDS"]:.3f} | {single} |')
    seeds = ', '.join(map(str, report['seeds']))
    lines += [
        '',
        f'Measured by `tools/benchmarks/ablate_losses.py` at commit {report["commit"]}, '
        f'{report["epochs"]} epochs, seeds {seeds}, on {report["date"]}: {report["machine"]}, '
        f'{report["device"]}, torch {report["torch"]}. Gains are means of the differences between '
        'runs of equal seed.',
        '',
    ]
    return '\n'.join(lines)


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw the mAP of every run, a line a config, beside the student alone and the teacher."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    rows = report['rows'][::-1]
    figure, axes = plt.subplots(figsize=(7, 0.6 + 0.24 * len(rows)))
    for height, row in enumerate(rows):
        color = 'tab:red' if row['name'] == 'alone' else 'tab:blue'
        values = [value['mAP'] for value in row['seeds'].values()]
        axes.plot(values, [height] * len(values), 'o', color=color, markersize=4, alpha=0.6)
        axes.plot([row['mAP']], [height], '|', color=color, markersize=14, markeredgewidth=2)
        if row['name'] == 'alone':
            axes.axvline(row['mAP'], color=color, linewidth=0.8, linestyle='--')
    axes.axvline(report['teacher']['mAP'], color='black', linewidth=0.8)
    axes.text(report['teacher']['mAP'], 0, 'teacher ', ha='right', fontsize=8)
    axes.set_yticks(range(len(rows)), [row['name'] for row in rows], fontsize=8)
    axes.set_xlabel('mAP on held-out frames: seeds (dots) and their mean (bar)', fontsize=8)
    axes.tick_params(axis='x', labelsize=8)
    axes.grid(axis='x', linewidth=0.3)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == '__main__':
    main()
