"""Reports of 3D detectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmdistill.report import Plot, ReportDomain, Run, Section, register_report_domain
from mmdistill.report.figures import COLOURS, SERIES, as_svg, draw_bars, new_figure, page_style
from mmdistill.report.log import is_finite
from mmdistill.report.networks import Network
from mmdistill3d.report.pictures import pictures_section

_CLASS_AP = (
    re.compile(r'(?P<name>\w+)_AP_dist_[\d.]+'),  # nuScenes: four distances
    re.compile(r'(?P<name>[A-Z]\w+?)_3D_AP(?:40|11)_moderate\w*'),  # KITTI
)
_HEADINGS = {
    'mAP': 'mAP',
    'NDS': 'NDS',
    'Overall_3D_AP40_moderate': '3D mAP (moderate)',
    'Overall_BEV_AP40_moderate': 'BEV mAP (moderate)',
}
_ERRORS = {
    'mATE': 'translation (m)',
    'mASE': 'scale (1 - IoU)',
    'mAOE': 'orientation (rad)',
    'mAVE': 'velocity (m/s)',
    'mAAE': 'attribute (1 - acc)',
}


class Detection3DReport(ReportDomain):
    """Detectors of boxes in space, by nuScenes' metrics or KITTI's."""

    sample = 'frame'

    def applies_to(self, cfg: Config) -> bool:
        return cfg.get('default_scope') == 'mmdet3d'

    def metrics(self, result: Mapping[str, Any]) -> dict[str, float]:
        """The means over the classes; those of any model where there are none."""
        plain = _plain(result)
        found = {text: plain[name] for name, text in _HEADINGS.items() if name in plain}
        return found or super().metrics(result)

    def details(self, runs: Sequence[Run]) -> list[Any]:
        """Bars of AP by class, and of the errors of true positives, where they were measured."""
        plots = []
        precisions = {run.name: class_precisions(run.result) for run in runs}
        colours = _colours(runs)
        classes = list(dict.fromkeys(name for found in precisions.values() for name in found))
        if classes:
            rows = {
                run: [found.get(name, np.nan) for name in classes]
                for run, found in precisions.items()
                if found
            }
            plots.append(_plot('AP by class', classes, rows, colours, 'ap'))
        errors = {run.name: _plain(run.result) for run in runs}
        names = [name for name in _ERRORS if any(name in found for found in errors.values())]
        if names:
            rows = {
                run: [found.get(name, np.nan) for name in names]
                for run, found in errors.items()
                if any(name in found for name in names)
            }
            groups = [_ERRORS[name] for name in names]
            title = 'Errors of true positives (less is better)'
            plots.append(_plot(title, groups, rows, colours, 'errors'))
        return plots

    def pictures(
        self,
        networks: Sequence[Network],
        frames: int,
        report: Callable[[str], Any],
        folder: Path | None = None,
    ) -> Section | None:
        """Frames from above."""
        return pictures_section(networks, frames, report, folder)


def class_precisions(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the AP of each class: of nuScenes the mean over its distances, of KITTI moderate."""
    found: dict[str, list[float]] = {}
    for key, value in _plain(result).items():
        for pattern in _CLASS_AP:
            name = pattern.fullmatch(key)
            if name and name['name'] != 'Overall':
                found.setdefault(name['name'], []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def _plain(result: Mapping[str, Any]) -> dict[str, float]:
    return {k.rsplit('/', 1)[-1]: v for k, v in result.items() if is_finite(v)}


def _colours(runs: Sequence[Run]) -> dict[str, str]:
    """A colour for each run: its role's, or one of a series where roles repeat."""
    roles = [run.role for run in runs]
    if len(set(roles)) == len(roles):
        return {run.name: COLOURS[run.role] for run in runs}
    return {run.name: SERIES[number % len(SERIES)] for number, run in enumerate(runs)}


def _plot(
    title: str,
    groups: Sequence[str],
    rows: Mapping[str, Sequence[float]],
    colours: Mapping[str, str],
    name: str,
) -> Plot:
    with page_style():
        figure = new_figure(9.2, 0.8 + len(groups) * (0.12 + 0.1 * len(rows)))
        axes = figure.subplots()
        draw_bars(axes, groups, rows, [colours[run] for run in rows])
        axes.set_title(title, loc='left')
        axes.set_xlim(left=0)
        axes.legend(loc='upper left', bbox_to_anchor=(1.0, 1.0))
        svg = as_svg(figure, name)
    return Plot(svg, title)


register_report_domain(Detection3DReport())
