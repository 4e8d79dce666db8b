"""Compare models on the same frames: parameters, MACs, time, memory, and accuracy where known.

Writes a table (Markdown), all numbers (JSON) and, with accuracies, a plot of accuracy over time.

Example:
    python tools/analysis/compare_models.py configs/bevfusion/bevfusion_lidar_teacher.py \
        configs/bevfusion/bevfusion_lidar_student_s.py --points sweep.pcd.bin \
        --results work_dirs/teacher_test work_dirs/student_test --out work_dirs/compare.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])
from tools._start import end_with_a_sentence, prepare_process

prepare_process()

import torch
from mmengine.registry import init_default_scope
from mmengine.utils import ProgressBar

from mmdistill.analysis.comparison import as_markdown, measure, write
from mmdistill.analysis.frames import load_frames, load_model
from mmdistill.analysis.results import DETECTION, read_result
from mmdistill.analysis.tables import describe_run, update_readme
from mmdistill.apis import add_cfg_options, check_data, load_config


def main() -> None:
    args = parse_args()
    nothing = [None] * len(args.configs)
    names = [*args.configs, *args.exports]
    with end_with_a_sentence():
        configs = [load_config(path, args.cfg_options) for path in args.configs]
        if not args.points:
            check_data(configs[0], loaders=('test_dataloader',))
        results = args.results or [None] * len(names)
        accuracies = [read_result(path, args.metrics) for path in results]
    init_default_scope(configs[0].get('default_scope', 'mmdet3d'))
    checkpoints = args.checkpoints or nothing
    models = [load_model(cfg, path) for cfg, path in zip(configs, checkpoints, strict=True)]
    with end_with_a_sentence():
        models += [load_export(folder) for folder in args.exports]
        batches = load_batches(args, configs[0])
    progress = ProgressBar(args.repeats * len(batches))
    costs = measure(models, batches, args.repeats, progress.update)
    rows = {
        path: {**own, **accuracy}
        for path, own, accuracy in zip(names, costs, accuracies, strict=True)
    }
    frames = ', '.join(path.name for path in args.points or ()) or f'{len(batches)} frames'
    run = {**describe_run(), 'frames': frames}
    table = as_markdown(rows, run, args.metrics)
    print(f'\n\n{table}')
    if args.out:
        write(args.out, rows, run, args.metrics)
    if args.update_readme:
        update_readme(args.update_readme, table, marker=args.marker)


def load_export(folder):
    from deploy.evaluate import ExportedDetector

    return ExportedDetector(folder, threads=torch.get_num_threads())


def load_batches(args, cfg):
    if not args.points:
        return load_frames(cfg, args.frames)
    from mmdistill3d.analysis.sweeps import load_sweep

    return [load_sweep(path, args.load_dim) for path in args.points]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', help='config files; percentages are of the first')
    parser.add_argument('--checkpoints', nargs='+', help='one checkpoint a config, in their order')
    parser.add_argument(
        '--exports',
        nargs='+',
        default=[],
        metavar='DIR',
        help='what export.py wrote: rows after those of the configs, with the size of the files',
    )
    parser.add_argument(
        '--results',
        nargs='+',
        metavar='PATH',
        help='one a config and then one an export: the metrics file or work dir of its evaluation '
        'by test.py or evaluate_export.py, or -',
    )
    parser.add_argument('--metrics', nargs='+', default=DETECTION, help='read from the results')
    parser.add_argument(
        '--points',
        nargs='+',
        type=Path,
        metavar='SWEEP.bin',
        help="sweeps to run on, as nuScenes stores them; default: the first config's test data",
    )
    parser.add_argument('--load-dim', type=int, default=5, help='numbers per point of a sweep')
    parser.add_argument('--frames', type=int, default=10, help='how many test frames')
    parser.add_argument('--repeats', type=int, default=3, help='how often each is run')
    parser.add_argument(
        '--out', type=Path, help='JSON file to write; the table and the plot go beside it'
    )
    parser.add_argument('--update-readme', type=Path, help='Markdown file that gets the table')
    parser.add_argument('--marker', default='compare-models', help='between <!-- MARKER --> there')
    add_cfg_options(parser, 'entries to override in every config')
    args = parser.parse_args()
    numbers = dict(checkpoints=len(args.configs), results=len(args.configs) + len(args.exports))
    for name, number in numbers.items():
        given = getattr(args, name)
        if given and len(given) != number:
            parser.error(f'{number} models but {len(given)} {name}')
    if len(set(args.configs)) < len(args.configs):
        parser.error('a config is named twice')
    return args


if __name__ == '__main__':
    main()
