"""Tabulate a teacher, a student alone and a student distilled, and draw what they do.

Writes table.md, table.json and a contact sheet of test clips; beside each run's results, its
confusion matrix.

Example:
    python tools/report_video.py work_dirs/demo_video --run seed_0 \
        --teacher configs/video/clip_teacher_mini.pth
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import end_with_a_sentence, prepare_process

prepare_process()

from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from mmdistill.analysis.classifiers import as_markdown, evaluate_weights, read_runs
from mmdistill.analysis.comparison import measure
from mmdistill.analysis.confusion import draw_run
from mmdistill.analysis.frames import load_frames, load_model
from mmdistill.analysis.tables import update_readme
from mmdistill.apis import add_cfg_options, check_data, load_config
from videocls.contact_sheet import draw_contact_sheet

CONFIGS = Path('configs/video')
RUNS = {
    'Teacher': ('clip_teacher_mini', 'clip_teacher_mini', 'model_best.pth'),
    'Student, alone': ('cnn_student_mini', 'cnn_student_mini', 'model_best.pth'),
    'Student, distilled': ('clip_cnn_mini', 'cnn_student_mini', 'student_best.pth'),
}
METRICS = dict(top1='top-1', top1_order='sit_down / stand_up', f1='macro F1')
CLIPS = 12


def main() -> None:
    args = parse_args()
    folders = {label: args.folder / run / args.run for label, (run, _, _) in RUNS.items()}
    with end_with_a_sentence():
        configs = {
            plain: load_config(CONFIGS / f'{plain}.py', args.cfg_options)
            for _, plain, _ in RUNS.values()
        }
        for cfg in configs.values():
            cfg.test_dataloader.dataset.data_root = args.data_root
        teacher = configs['clip_teacher_mini']
        check_data(teacher, loaders=('test_dataloader',))
        weights = {label: folders[label] / file for label, (_, _, file) in RUNS.items()}
        if args.teacher and args.teacher != weights['Teacher']:
            weights['Teacher'], folders['Teacher'] = args.teacher, args.folder / 'teacher_shipped'
            evaluate_weights(teacher, args.teacher, folders['Teacher'])
        runs = read_runs(folders)
    init_default_scope('mmengine')
    models = [
        load_model(configs[plain], str(weights[label])) for label, (_, plain, _) in RUNS.items()
    ]
    batches = load_frames(teacher, CLIPS)
    costs = measure(models, batches, repeats=3)
    table = as_markdown(runs, costs, METRICS)
    (args.folder / 'table.md').write_text(table + '\n')
    (args.folder / 'table.json').write_text(
        json.dumps({label: {**cost} for label, cost in zip(runs, costs, strict=True)}, indent=1)
    )
    for folder in folders.values():
        draw_run(folder / 'results.json')
    samples = [{key: value[0] for key, value in batch.items()} for batch in batches]
    classes = teacher.test_evaluator.classes
    sheet = args.sheet or args.folder / 'contact_sheet.png'
    draw_contact_sheet(models[-1], pseudo_collate(samples), classes, sheet)
    print(f'\n{table}\n\nIn {args.folder}: table.md, {sheet.name}; beside each run confusion.png.')
    if args.update_readme:
        update_readme(args.update_readme, table, marker='video')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='work dir of tools/experiments.py')
    parser.add_argument('--run', default='seed_0', help='folder of the run below each config')
    parser.add_argument(
        '--teacher', type=Path, help='weights that ship, tested here; default: those of its run'
    )
    parser.add_argument('--data-root', default='data/videosim/', help='of the test clips')
    parser.add_argument('--sheet', type=Path, help='where the contact sheet goes')
    parser.add_argument('--update-readme', type=Path, help='file with <!-- video --> markers')
    add_cfg_options(parser, 'entries to override in every config')
    return parser.parse_args()


if __name__ == '__main__':
    main()
