"""Show what a contrastive link can still teach: how far its projectors alone bring its loss.

The student stands still and the link's projectors are trained for some steps, for each checkpoint
of the student that is given. Where the loss falls as far behind a student that has never seen the
link as behind one that was trained with it, the projectors do all the work, and the student has
nothing to learn from it.

Example:
    python tools/analysis/contrast.py configs/distill/losses/contrastive.py \
        --student alone=work_dirs/alone/epoch_3.pth with=work_dirs/with_crd/epoch_3_student.pth
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])
from tools._start import end_with_a_sentence, prepare_process

prepare_process()

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, set_random_seed

from mmdistill.analysis.contrast import train_projectors
from mmdistill.analysis.tables import describe_run, update_readme
from mmdistill.apis import add_cfg_options, check_data, check_teachers, load_config
from mmdistill.teacher import load_strictly
from mmdistill.utils.checkpoint import load_weights
from mmdistill.utils.dataset import original_length

COLUMNS = (
    'first_loss', 'last_loss', 'first_positive', 'last_positive', 'first_negative',
    'last_negative', 'share',
)  # fmt: skip


def main() -> None:
    args = parse_args()
    with end_with_a_sentence():
        cfg = load_config(args.config, args.cfg_options)
        check_data(cfg, loaders=('train_dataloader',))
        check_teachers(cfg)
    init_default_scope(cfg.get('default_scope', 'mmdet3d'))
    lines = [
        '| student | link | ' + ' | '.join(name.replace('_', ' ') for name in COLUMNS) + ' |',
        '|---|---' + '|---:' * len(COLUMNS) + '|',
    ]
    report = {}
    for student in ['random', *args.student]:
        name, _, checkpoint = student.rpartition('=')
        with end_with_a_sentence():
            report[student] = measure(cfg, checkpoint if student != 'random' else None, args)
        for link, row in report[student].items():
            values = ' | '.join(f'{row[column]:.3f}' for column in COLUMNS)
            lines.append(f'| {name or checkpoint} | `{link}` | {values} |')
            print(lines[-1], flush=True)
    run = describe_run()
    lines += [
        '',
        f'`tools/analysis/contrast.py {args.config} --steps {args.steps}` at commit '
        f'{run["commit"]} on {run["date"]}: {run["machine"]}, {run["device"]}, torch '
        f'{run["torch"]}. Share: its gradient beside that of the detection losses, at the end.',
    ]
    table = '\n'.join(lines)
    print(f'\n{table}')
    if args.out:
        args.out.write_text(json.dumps({**run, 'students': report}, indent=2) + '\n')
    if args.update_readme:
        update_readme(args.update_readme, table, marker='contrast')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='distillation config with a contrastive link')
    parser.add_argument(
        '--student',
        nargs='*',
        default=[],
        metavar='[NAME=]FILE',
        help='checkpoints of the plain student, besides random weights',
    )
    parser.add_argument('--steps', type=int, default=200)
    parser.add_argument('--lr', type=float, default=1e-3, help='learning rate of the projectors')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, help='JSON file to write')
    parser.add_argument('--update-readme', type=Path, help='file with <!-- contrast --> markers')
    add_cfg_options(parser)
    return parser.parse_args()


def measure(cfg: Config, student: str | None, args: argparse.Namespace) -> dict:
    """Train the links' projectors on one student."""
    set_random_seed(args.seed)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=args.seed)
    distiller = MODELS.build(cfg.model)
    distiller.init_weights()
    if student is not None:
        weights = load_weights(student)['state_dict']
        load_strictly(distiller.student, weights, f'student ({student})')
    distiller.to(get_device()).train()
    distiller.prepare(num_samples=original_length(loader.dataset))
    distiller.progress = (0, 0)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    return train_projectors(distiller, itertools.islice(batches, args.steps), args.lr)


if __name__ == '__main__':
    main()
