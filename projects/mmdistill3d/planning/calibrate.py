"""Weights of links by how hard they pull beside the detection losses."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from mmengine.config import Config
from mmengine.registry import HOOKS
from mmengine.runner import Runner, set_random_seed

from mmdistill.analysis.gradients import measure_links
from mmdistill.teacher import load_strictly
from mmdistill.utils.checkpoint import load_weights
from mmdistill3d.planning.families import Suggestion
from mmdistill3d.planning.plan import INIT_HOOK, Plan, built

SHARE = 0.33
"""Gradient of each link as a part of that of the detection losses."""


def calibrate(
    plan: Plan, model: dict[str, Any], cfg: Config, batches: int = 4, student: str | None = None
) -> None:
    """Set the weights of a plan's links, in place, so that each has :data:`SHARE`.

    They are measured on the student's own training data, where the run begins or at a trained
    student. What was measured is noted with each link's reason. CRD keeps the recipe's: its banks
    are empty here, so its gradient says little of a training.

    Args:
        plan: The plan.
        model: Config of its distiller.
        cfg: The student's whole config, whose training data set is there.
        batches: How many batches are measured; their medians count.
        student: Checkpoint of a trained student to measure at.

    Raises:
        ValueError: A link has no gradient, or the run begins at random weights and there is no
            trained student.
    """
    if student is None and not plan.inherits:
        raise ValueError(
            'weights are measured where the run begins, but this student begins at random weights, '
            "beside whose detection losses a link's gradient says nothing of the training: train "
            'it alone and name its checkpoint, --calibrate STUDENT.pth'
        )
    set_random_seed(0)
    loader = Runner.build_dataloader(copy.deepcopy(cfg.train_dataloader), seed=0)
    distiller = built(model)
    if student is not None:
        weights = load_weights(student)['state_dict']
        load_strictly(distiller.student, weights, f'student ({student})')
    else:
        HOOKS.build(INIT_HOOK).start(distiller)
    rows = measure_links(distiller, loader, batches)
    plan.links = [_weighed(link, rows[link.name], batches) for link in plan.links]


def _weighed(link: Suggestion, row: dict[str, float], batches: int) -> Suggestion:
    config = copy.deepcopy(link.config)
    before = config['loss']['loss_weight']
    if config['loss']['type'] == 'CRDLoss':
        return replace(link, reason=f'{link.reason}\nWeight of the recipe, not calibrated.')
    if not row['share'] > 0:
        raise ValueError(
            f'link {link.name} has no gradient on {batches} batches (value {row["value"]:.3g}), so '
            'no weight can be told; try more batches, or leave --calibrate out'
        )
    config['loss']['loss_weight'] = float(f'{before * SHARE / row["share"]:.2g}')
    note = (
        f'Weight {before:g} pulled {row["share"]:.2g} as hard as the detection losses (cosine '
        f'{row["cosine"]:.2f}): set for {SHARE:g}.'
    )
    return replace(link, reason=f'{link.reason}\n{note}', config=config)
