"""Tells in two minutes whether a training run will work; one module for each part of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmengine.config import Config

from mmdistill.apis.preflight.accuracy import check_accuracy
from mmdistill.apis.preflight.data import check_files, check_samples
from mmdistill.apis.preflight.domain import Domain, register_domain
from mmdistill.apis.preflight.findings import Finding, Skip, Verdict, run_check
from mmdistill.apis.preflight.model import (
    check_model,
    check_parts,
    check_start,
    check_teacher_weights,
)
from mmdistill.apis.preflight.state import State
from mmdistill.apis.preflight.training import check_cost, check_step

CHECKS = {
    'data': check_files,
    'samples': check_samples,
    'model': check_model,
    'teacher': check_teacher_weights,
    'start': check_start,
    'parts': check_parts,
    'accuracy': check_accuracy,
    'step': check_step,
    'cost': check_cost,
}

__all__ = [
    'CHECKS',
    'Domain',
    'Finding',
    'Skip',
    'Verdict',
    'preflight',
    'register_domain',
    'sum_up',
]


def preflight(cfg: Config) -> Iterator[tuple[str, Finding]]:
    """Make every check of a run's config; yield each finding with the name of its check."""
    state = State(cfg)
    for name, check in CHECKS.items():
        for finding in run_check(lambda check=check: check(state)):
            yield name, finding


def sum_up(findings: Sequence[Finding], seconds: float, device: str) -> str:
    """The last line of a report."""
    verdicts = [finding.verdict for finding in findings]
    failures, warned = verdicts.count(Verdict.FAILED), verdicts.count(Verdict.WARNING)
    return (
        f'{failures} failed, {warned} to look at, in {seconds:.0f} s on {device}: '
        f'{"the run will not work" if failures else "the run can start"}.'
    )
