"""Losses, learning rate and validations over the training, all runs in one plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmdistill.distiller import LOSS_PREFIX
from mmdistill.report.content import Plot, Section
from mmdistill.report.domain import ReportDomain
from mmdistill.report.figures import COLOURS, LINE_STYLES, SERIES, as_svg, new_figure, page_style
from mmdistill.report.log import is_finite
from mmdistill.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN_METRICS = 2
_SMOOTH = 25  # windows over a curve
_WIDTH, _HEIGHT = 4.6, 2.9  # inches of a panel


def curves_section(runs: Sequence[Run], domain: ReportDomain) -> Section:
    """Draw what was logged; a run without a log leaves a note."""
    section = Section(
        'curves',
        'Training',
        'The own losses are the detector’s or classifier’s alone, so that runs with and without '
        'links compare. Thin lines are logged values, thick ones their running mean.',
    )
    trained = [run for run in runs if run.log.train]
    for run in runs:
        if run not in trained:
            section.notes.append(f'{run.name}: no training log (weights that were there before)')
        elif not run.is_finished:
            section.notes.append(f'{run.name}: {_progress(run)}; the curves end there')
        if run in trained and not run.log.validations:
            section.notes.append(f'{run.name}: no validation yet')
    if not trained:
        return section
    panels = [_own_losses, _link_losses, _parts, _learning_rate]
    panels = [panel for panel in panels if panel is not _link_losses or _links(trained)]
    metrics = _metrics(trained, domain)
    total = len(panels) + len(metrics)
    lines = -(-total // 2)
    with page_style():
        figure = new_figure(2 * _WIDTH, lines * _HEIGHT)
        axes = list(figure.subplots(lines, 2, squeeze=False).flat)
        for panel, axis in zip(panels, axes, strict=False):
            panel(axis, trained)
        for metric, axis in zip(metrics, axes[len(panels) :], strict=False):
            _validations(axis, trained, domain, metric)
        for axis in axes[total:]:
            axis.set_axis_off()
        svg = as_svg(figure, 'curves')
    section.blocks.append(Plot(svg, 'Losses, learning rate and validation metrics over training'))
    return section


def _progress(run: Run) -> str:
    unit = 'epoch' if run.counts_epochs else 'iteration'
    if run.planned is None:
        return f'reached {unit} {run.reached}'
    return f'reached {unit} {run.reached} of {run.planned}'


def own_loss(record: dict[str, Any]) -> float | None:
    """The loss of a training step without its links."""
    if not is_finite(record.get('loss')):
        return None
    links = (value for key, value in record.items() if key.startswith(LOSS_PREFIX))
    return record['loss'] - sum(value for value in links if is_finite(value))


def _own_losses(axis: Axes, runs: Sequence[Run]) -> None:
    for run, style in zip(runs, _styles(runs), strict=True):
        _curve(axis, run, own_loss, label=run.name, **style)
    _finish(axis, 'Own losses', runs)


def _link_losses(axis: Axes, runs: Sequence[Run]) -> None:
    linked = [run for run in runs if _links([run])]
    names = _links(linked)
    for style, run in zip(LINE_STYLES, linked, strict=False):
        for colour, name in zip(SERIES, names, strict=False):
            key = LOSS_PREFIX + name
            if any(key in record for record in run.log.train):
                label = name if len(linked) == 1 else f'{name}, {run.name}'
                _curve(axis, run, lambda r, k=key: r.get(k), label=label, color=colour, ls=style)
    axis.set_yscale('log')
    _finish(axis, 'Losses of the links, weighted', runs)


def _parts(axis: Axes, runs: Sequence[Run]) -> None:
    """The own losses of the last run, one by one."""
    run = runs[-1]
    keys = dict.fromkeys(
        key for record in run.log.train for key in record if 'loss' in key and key != 'loss'
    )
    for colour, key in zip(SERIES, keys, strict=False):
        _curve(axis, run, lambda r, k=key: r.get(k), label=key, color=colour)
    _finish(axis, f'Own losses one by one: {run.name}', runs)


def _learning_rate(axis: Axes, runs: Sequence[Run]) -> None:
    for run, style in zip(runs, _styles(runs), strict=True):
        points = [(r['step'], r['lr']) for r in run.log.train if is_finite(r.get('lr'))]
        if points:
            marker = 'o' if len(points) == 1 else None
            axis.plot(*zip(*points, strict=True), label=run.name, marker=marker, **style)
    axis.ticklabel_format(axis='y', style='sci', scilimits=(-2, 2), useMathText=True)
    _finish(axis, 'Learning rate', runs)


def _validations(axis: Axes, runs: Sequence[Run], domain: ReportDomain, metric: str) -> None:
    for run, style in zip(runs, _styles(runs), strict=True):
        points = [
            (record['step'], value)
            for record in run.log.validations
            if is_finite(value := domain.metrics(record).get(metric))
        ]
        if points:
            axis.plot(*zip(*points, strict=True), marker='o', ms=4, label=run.name, **style)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.margins(0.1)
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    unit = 'epoch' if all(run.counts_epochs for run in runs) else 'iteration'
    _finish(axis, f'Validation: {metric}', runs, unit)


def _curve(
    axis: Axes, run: Run, value: Callable[[dict[str, Any]], Any], label: str, **style: Any
) -> None:
    points = [(r['step'], value(r)) for r in run.log.train]
    points = [(step, y) for step, y in points if is_finite(y)]
    if not points:
        return
    steps, values = (np.array(column, float) for column in zip(*points, strict=True))
    window = max(len(values) // _SMOOTH, 1)
    smooth = np.convolve(values, np.ones(window) / window, mode='valid')
    if window > 1:
        axis.plot(steps, values, lw=0.5, alpha=0.35, **style)
    marker = 'o' if len(values) == 1 else None  # a line of one point is not seen
    axis.plot(steps[window - 1 :], smooth, lw=1.6, label=label, marker=marker, **style)


def _finish(axis: Axes, title: str, runs: Sequence[Run], unit: str = 'iteration') -> None:
    axis.set_title(title, loc='left')
    axis.set_xlabel(unit)
    if axis.get_legend_handles_labels()[0]:
        axis.legend()


def _styles(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A colour for each role, and another dash for each further run of it."""
    seen: dict[str, int] = {}
    styles = []
    for run in runs:
        number = seen[run.role] = seen.get(run.role, -1) + 1
        styles.append(dict(color=COLOURS[run.role], ls=LINE_STYLES[number % len(LINE_STYLES)]))
    return styles


def _links(runs: Sequence[Run]) -> list[str]:
    """Names of the links that were logged."""
    return list(
        dict.fromkeys(
            key.removeprefix(LOSS_PREFIX)
            for run in runs
            for record in run.log.train
            for key in record
            if key.startswith(LOSS_PREFIX)
        )
    )


def _metrics(runs: Sequence[Run], domain: ReportDomain) -> list[str]:
    found = dict.fromkeys(
        name for run in runs for record in run.log.validations for name in domain.metrics(record)
    )
    return list(found)[:_SHOWN_METRICS]
