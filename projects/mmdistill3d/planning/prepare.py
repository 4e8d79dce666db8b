"""From what a user asks for to a plan that has been tried, and to its files."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdistill.apis.checks import check_config, check_data
from mmdistill.teacher import read_config
from mmdistill3d.planning import tables
from mmdistill3d.planning.calibrate import calibrate
from mmdistill3d.planning.narrow import narrow
from mmdistill3d.planning.pair import read_pair
from mmdistill3d.planning.plan import Plan, make_plan, try_plan
from mmdistill3d.planning.writing import (
    demand_new,
    distillation_config,
    student_config,
    write_new,
)


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Args:
        teacher: Path of the teacher's config, or ``'package::path'``.
        checkpoint: Path or URL of its weights.
        student: The student's config; None for one derived from the teacher's.
        width: Factor of the student's channels.
        depth: Factor of its layers.
        recipe: One of :data:`~mmdistill3d.planning.recipes.RECIPES`.
        out: Config to write.
        overwrite: Whether it may be there.
        calibrate: Batches on which the links' weights are measured; 0 leaves the recipe's.
        calibrate_at: Checkpoint of a trained student to measure at; None for the run's beginning.
    """

    teacher: str
    checkpoint: str
    student: str | None = None
    width: float = 1.0
    depth: float = 1.0
    recipe: str = 'best'
    out: Path | None = None
    overwrite: bool = False
    calibrate: int = 0
    calibrate_at: str | None = None

    @property
    def base(self) -> str:
        """The config that the student is, or is derived from."""
        return self.student or self.teacher

    @property
    def derives(self) -> bool:
        """Whether the student is a narrower or shallower form of its base."""
        return (self.width, self.depth) != (1, 1)

    @property
    def student_out(self) -> Path | None:
        """Where a derived student's config is written: beside the other one."""
        return self.out and self.out.with_name(f'{self.out.stem}_student.py')

    @property
    def command(self) -> str:
        """The call, as far as it says what was chosen."""
        words = ['tools/distill.py', '--recipe', self.recipe]
        if self.calibrate:
            words += ['--calibrate', *filter(None, [self.calibrate_at])]
        return shlex.join(words)


@dataclass(frozen=True)
class Prepared:
    """A plan that has been tried.

    Args:
        request: What was asked for.
        plan: The plan.
        cfg: The student's whole config.
        changes: What a derived student has otherwise than its base; empty for a given one.
    """

    request: Request
    plan: Plan
    cfg: Config
    changes: dict[str, Any]

    @property
    def teacher(self) -> dict[str, str]:
        """The teacher as a distiller takes it."""
        return dict(config=self.request.teacher, checkpoint=self.request.checkpoint)


def prepare(request: Request, say: Callable[[str], Any] = lambda text: None) -> Prepared:
    """Read both detectors, choose the links and try them.

    Args:
        request: What is asked for.
        say: Called with each table.

    Raises:
        FileExistsError: What would be written is there.
        FileNotFoundError: A config, the checkpoint or, to calibrate, the data set is not there.
        ValueError: The pair cannot be distilled, with the reason.
    """
    for path in (request.out, request.student_out if request.derives else None):
        if path is not None:
            demand_new(path, request.overwrite)
    for config in (request.teacher, request.base):
        if '::' not in config:
            check_config(config)
    _demand_text(request.base)
    cfg = copy.deepcopy(read_config(request.base, 'student'))
    if request.calibrate:
        check_data(cfg, loaders=('train_dataloader',))
    changes: dict[str, Any] = {}
    if request.derives:
        changes = narrow(cfg.model, request.width, request.depth)
        cfg.merge_from_dict(dict(model=copy.deepcopy(changes)))
    pair = read_pair(cfg, _name(request), request.teacher, request.checkpoint)
    say(tables.describe_pair(pair))
    plan = make_plan(pair, request.recipe)
    prepared = Prepared(request, plan, cfg, changes)
    hoped = plan.inherits
    tried = try_plan(plan, plan.model(cfg, prepared.teacher))
    if hoped and not plan.inherits:  # a student that starts at random weights has other links
        plan = make_plan(replace(pair, no_start=plan.start), request.recipe)
        prepared = replace(prepared, plan=plan)
        tried = try_plan(plan, plan.model(cfg, prepared.teacher))
    if request.calibrate:
        model = plan.model(cfg, prepared.teacher)
        calibrate(plan, model, cfg, request.calibrate, request.calibrate_at)
    say(tables.describe_plan(plan))
    if request.derives:
        say(tables.describe_costs(tried.student, pair.teacher.model))
    return prepared


def _demand_text(config: str) -> None:
    """Demand a student's config that a written one can have as its base.

    Raises:
        ValueError: It is one in pure Python, which MMEngine joins with none in text.
    """
    if '::' not in config and Config._is_lazy_import(config):
        raise ValueError(
            f'{config} is a config in pure Python (read_base), which a config in text cannot have '
            "as its base: name the student's config in text, with `_base_ = [...]`"
        )


def write(prepared: Prepared) -> list[Path]:
    """Write the distillation config and, of a derived student, its plain config.

    Returns:
        The files.

    Raises:
        FileExistsError: One is there, and is not to be overwritten.
    """
    files = texts(prepared)
    for path, text in files.items():
        write_new(path, text, prepared.request.overwrite)
    return list(files)


def texts(prepared: Prepared) -> dict[Path, str]:
    """Return what is to be written: the text of each file."""
    request, cfg = prepared.request, prepared.cfg
    files, student = {}, request.base
    if request.derives:
        student = str(request.student_out)
        model = prepared.plan.pair.student.model
        comments = [
            f'{request.base} at {_scale(request)}:',
            f'{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters; a plain '
            'detector, derived by tools/distill.py.',
        ]
        files[request.student_out] = student_config(
            request.base, request.student_out, cfg, prepared.changes, comments
        )
    files[request.out] = distillation_config(
        prepared.plan, request.out, student, cfg, prepared.teacher, request.command
    )
    return files


def _name(request: Request) -> str:
    if not request.derives:
        return request.base
    return f'{request.base} at {_scale(request)}'


def _scale(request: Request) -> str:
    parts = (('width', request.width), ('depth', request.depth))
    return ' and '.join(f'{factor:g} of its {what}' for what, factor in parts if factor != 1)
