"""The page of runs, section by section."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mmdistill.analysis.comparison import measure
from mmdistill.analysis.frames import load_frames
from mmdistill.analysis.tables import describe_run
from mmdistill.apis.checks import check_data
from mmdistill.report.content import Section
from mmdistill.report.curves import curves_section
from mmdistill.report.domain import domain_of
from mmdistill.report.features import features_section
from mmdistill.report.header import links_section, runs_section
from mmdistill.report.networks import MISSING, Network, load_networks
from mmdistill.report.page import Page
from mmdistill.report.results import results_section
from mmdistill.report.runs import Run

_TIMED, _COMPARED = 6, 8  # samples


def build_page(
    runs: Sequence[Run],
    title: str = 'Distillation report',
    frames: int = 24,
    costs: Mapping[str, Mapping[str, Any]] | None = None,
    device: str | None = None,
    report: Callable[[str], Any] = lambda line: None,
    pictures: Path | None = None,
) -> Page:
    """Build the page of runs.

    Args:
        runs: As :func:`mmdistill.report.read_runs` returns them.
        title: Heading of the page.
        frames: How many validation samples the models may be run on; with 0 no model is built,
            and the page shows what was logged.
        costs: Of each run by its name, where they were measured before.
        device: Of the models; this machine's, where none is named.
        report: Called with a line where something begins that takes time.
        pictures: On request, a folder for the pictures of samples as files.
    """
    domain = domain_of(runs)
    notes: list[str] = []
    networks: list[Network] = []
    batches: list[Any] = []
    if frames:
        report('loading the models')
        networks = load_networks(runs, notes, device)
        batches = _load_batches(networks, min(frames, _COMPARED), notes)
    else:
        notes.append('the models were not run (frames=0)')
    origin = 'Costs were measured with the runs.'
    if costs is None:
        costs, origin = _measure(runs, networks, batches, report)
    pages = [
        results_section(runs, domain, costs, origin if costs else ''),
        links_section(runs),
        curves_section(runs, domain),
        _pictures(domain, networks if batches else [], frames, report, pictures),
        _features(runs, networks, batches, device, report),
        runs_section(runs),
    ]
    sections = [section for section in pages if section is not None]
    return Page(title, _subtitle(runs), sections, notes, describe_run())


def _load_batches(networks: Sequence[Network], number: int, notes: list[str]) -> list[Any]:
    """Samples of the last network's test data; none where they are not here."""
    if not networks:
        return []
    cfg = networks[-1].cfg
    try:
        check_data(cfg, loaders=('test_dataloader',))
        return load_frames(cfg, number)
    except MISSING as error:
        notes.append(f'no validation data to run the models on: {error}')
        return []


def _measure(
    runs: Sequence[Run],
    networks: Sequence[Network],
    batches: Sequence[Any],
    report: Callable[[str], Any],
) -> tuple[dict[str, Any], str]:
    if not networks or not batches:
        return {}, ''
    report('measuring parameters, MACs and milliseconds')
    timed = list(batches[:_TIMED])
    measured = measure([network.model for network in networks], timed, repeats=2)
    here = describe_run()
    times = 'ms_per_frame' if torch.cuda.is_available() else 'processor_ms_per_frame'
    what = 'median time' if torch.cuda.is_available() else 'median processor time'
    origin = (
        f'Milliseconds: {what} of test_step over {len(timed)} samples, twice, the models taking '
        f'turns; {here["machine"]}, {here["device"]}.'
    )
    costs = [{**cost, 'ms_per_frame': cost[times]} for cost in measured]
    known = {n.name: cost for n, cost in zip(networks, costs, strict=True)}
    same = {n.run.network: cost for n, cost in zip(networks, costs, strict=True) if n.run}
    return known | {run.name: same[run.network] for run in runs if run.network in same}, origin


def _pictures(
    domain: Any,
    networks: Sequence[Network],
    frames: int,
    report: Callable[[str], Any],
    folder: Path | None,
) -> Section | None:
    if not networks:
        return None
    try:
        return domain.pictures(networks, frames, report, folder)
    except MISSING as error:
        return Section('pictures', 'Samples', notes=[f'no pictures: {error}'])


def _features(
    runs: Sequence[Run],
    networks: Sequence[Network],
    batches: Sequence[Any],
    device: str | None,
    report: Callable[[str], Any],
) -> Section | None:
    if not any(run.role == 'distilled' for run in runs):
        return None
    if batches:
        report('comparing the features of student and teacher')
    return features_section(runs, networks, batches, device)


def _subtitle(runs: Sequence[Run]) -> str:
    return ' · '.join(run.name for run in runs)
