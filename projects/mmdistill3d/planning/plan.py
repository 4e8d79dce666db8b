"""The plan of a distillation: the links that fit two detectors, and why the others do not."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.registry import HOOKS, MODELS

from mmdistill import Distiller
from mmdistill.contracts import SampleMemory
from mmdistill.hooks.teacher_init_hook import HALF_A_START
from mmdistill.inherit import InheritanceReport
from mmdistill.link import Link
from mmdistill.reading import Layer
from mmdistill.step import Step
from mmdistill3d.examples import example_batch
from mmdistill3d.planning.families import Suggestion
from mmdistill3d.planning.pair import PARTS, Pair, sparse_layers_for_cpu
from mmdistill3d.planning.recipes import INHERITS, RECIPES, other_parts

INIT_HOOK = dict(type='Det3DInitHook')
MADE_UP_LENGTH = 100  # of the data set, for memory banks in the trial


@dataclass
class Plan:
    """What is linked, and what is not.

    Args:
        pair: The two detectors.
        recipe: Name of the recipe.
        links: Suggestions that fit both detectors.
        left: Layers that are not linked, student's and teacher's, with the reason.
        inherits: Whether the student starts from the teacher's weights.
        start: Why it does or does not.
    """

    pair: Pair
    recipe: str
    links: list[Suggestion] = field(default_factory=list)
    left: list[tuple[str, str, str]] = field(default_factory=list)
    inherits: bool = False
    start: str = ''

    def model(self, student: Any, teacher: dict[str, Any]) -> dict[str, Any]:
        """Return the distiller's config.

        Args:
            student: The student's config, or its path.
            teacher: The teacher as a distiller takes it.
        """
        shares_voxels = all(
            hasattr(side.model, 'pts_voxel_layer')
            for side in (self.pair.student, self.pair.teacher)
        )
        return dict(
            type='BEVFusionDistiller' if shares_voxels else 'Distiller',
            student=dict(config=student),
            teacher=teacher,
            links={link.name: link.config for link in self.links},
        )


def make_plan(pair: Pair, recipe: str) -> Plan:
    """Choose the links of a recipe that fit two detectors.

    Args:
        pair: The detectors.
        recipe: One of :data:`~mmdistill3d.planning.recipes.RECIPES`.

    Raises:
        ValueError: No link of the recipe fits; the message gives the reason of each.
    """
    plan = Plan(pair, recipe)
    for suggestion in RECIPES[recipe](pair):
        why = _misfit(pair, suggestion)
        if why is None:
            plan.links.append(suggestion)
        else:
            plan.left.append((*suggestion.layers, why))
    plan.inherits, plan.start = _start(plan)
    _leave_features(plan)
    plan.left += list(_not_linked(plan))
    if not plan.links:
        reasons = [f'  {student} <- {teacher}: {why}' for student, teacher, why in plan.left]
        raise ValueError('\n'.join([f'no link of the recipe {recipe!r} fits this pair:', *reasons]))
    return plan


def try_plan(plan: Plan, model: dict[str, Any]) -> Distiller:
    """Build the distiller of a plan and compute its losses once, on two made-up frames.

    Args:
        plan: The plan; it is told what the student inherits, or why nothing.
        model: Config of the distiller.

    Returns:
        The distiller as a run begins with it.

    Raises:
        ValueError: The distiller does not build, or a loss is not finite.
    """
    distiller = built(model)
    if plan.inherits:
        try:
            _note_start(plan, HOOKS.build(INIT_HOOK).start(distiller))
        except ValueError as error:
            plan.inherits, plan.start = False, str(error).partition('\n')[0]
    distiller.prepare(num_samples=MADE_UP_LENGTH)
    distiller.progress = (0, 0)
    distiller.train()
    batch = example_batch(distiller.student) or {}
    losses = distiller(**distiller.data_preprocessor(copy.deepcopy(batch), True), mode='loss')
    values = {name: float(value) for name, value in distiller.parse_losses(losses)[1].items()}
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise ValueError(f'on a made-up frame these losses are not finite: {", ".join(broken)}')
    return distiller


def built(model: dict[str, Any]) -> Distiller:
    """Build a distiller, with its teacher loaded and its own weights initialised."""
    with sparse_layers_for_cpu():
        distiller = MODELS.build(copy.deepcopy(model))
    distiller.init_weights()
    return distiller


def _misfit(pair: Pair, suggestion: Suggestion) -> str | None:
    """Why a link does not fit; None where it does."""
    config = copy.deepcopy(suggestion.config)
    models = pair.student.model, pair.teacher.model
    try:
        link = Link.from_config(suggestion.name, config)
        layers = pair.student.layer(config['student']), pair.teacher.layer(config['teacher'])
        if not pair.reads_shapes and (why := _other_axes(*layers)):
            return why
        link.bind(*layers)
        link.bind_classes(*models)
        if not any(isinstance(module, SampleMemory) for module in link.modules()):
            samples = pair.distiller.data_preprocessor(example_batch(models[0], 1, 2000), True)
            step = Step(models[0], {'teacher': models[1]}, {}, samples['data_samples'])
            with torch.no_grad():
                link(layers[0].value, layers[1].value, step)
    except ValueError as error:
        # The link names itself and its layers, as the table does.
        return str(error).partition('): ')[2] or str(error)
    return None


def _other_axes(student: Layer, teacher: Layer) -> str | None:
    """Why maps cannot be joined whose shapes are not read when the run builds its models."""
    if student.size is None or student.axes == teacher.axes:
        return None
    return (
        f"the student's map is {student.axes}, the teacher's {teacher.axes}, and a run cannot read "
        "the cells off MMDetection3D's sparse encoder to join them: do it by hand, with a "
        'TransposeConnector and a RangeConnector'
    )


def _leave_features(plan: Plan) -> None:
    """Leave features out where the heads are enough for a student that starts from the teacher."""
    family, head = plan.pair.student.family, plan.pair.student.part('bbox_head')
    answers = [link for link in plan.links if head and link.layers[0].startswith(head)]
    if not (plan.inherits and answers and family is not None and family.sufficient):
        return
    why = f'behind the start the recipe {plan.recipe} links what these heads answer alone'
    plan.left += [(*link.layers, why) for link in plan.links if link not in answers]
    plan.links = answers


def _not_linked(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """What the two have in common and the recipe does not link, with the reason."""
    pair, recipe = plan.pair, plan.recipe
    seen = {link.layers for link in plan.links} | {row[:2] for row in plan.left}
    heads = pair.student.part('bbox_head'), pair.teacher.part('bbox_head')
    families = pair.student.family, pair.teacher.family
    if None not in heads and (None in families or families[0] is not families[1]):
        kinds = ' and '.join(
            f'{side.kind("bbox_head")} ({family.name if family else "unknown"})'
            for side, family in zip((pair.student, pair.teacher), families, strict=True)
        )
        yield *heads, f'heads of no common family answer differently: {kinds}'
    elif None not in heads and not any(s.startswith(heads[0]) for s, _ in seen):
        yield *heads, f'the recipe {recipe} links features alone'
    wanted = [name for name, _ in seen if not name.startswith(f'{heads[0]}')]
    for part in PARTS[:-1]:
        for layers in pair.addresses(part):
            if layers in seen:
                continue
            if not wanted:
                why = f'the recipe {recipe} links what the heads answer alone'
            elif wanted[0].partition('[')[0] == layers[0].partition('[')[0]:
                why = 'another level of what the recipe links; the finest has the most cells'
            else:
                why = f'{wanted[0]}, which the recipe links, is computed from it'
            yield *layers, why


def _start(plan: Plan) -> tuple[bool, str]:
    """Whether the student starts from the teacher's weights, and why."""
    if plan.recipe not in INHERITS:
        return False, f'the recipe {plan.recipe} starts as the student alone does'
    if why := other_parts(plan.pair):
        return False, why
    return True, 'both have the same kinds of parts'


def _note_start(plan: Plan, report: InheritanceReport) -> None:
    """Tell a plan how much a student inherits, and whether that is a start."""
    share = f'{report.share:.0%} of the parameters'
    plan.start = f"{share}, cut to the student's widths"
    if report.share < HALF_A_START:
        name, why = next(iter(report.left().items()))
        plan.inherits, plan.start = False, f"the teacher's weights fit {share}; {name}: {why}"
