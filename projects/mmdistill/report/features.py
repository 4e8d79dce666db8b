"""How alike student and teacher see at the linked layers, before and after the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmdistill.analysis.similarity import LinearCKA
from mmdistill.distiller import Distiller
from mmdistill.link import Link
from mmdistill.reading.recorder import record_layers
from mmdistill.reading.shapes import layer_facts
from mmdistill.report.content import Plot, Section
from mmdistill.report.figures import COLOURS, as_svg, draw_bars, new_figure, page_style
from mmdistill.report.networks import MISSING, Network, load_distiller, network_of
from mmdistill.report.runs import Run

_STARTED = '#8a8f98'


def features_section(
    runs: Sequence[Run],
    networks: Sequence[Network],
    batches: Sequence[Any],
    device: str | None,
) -> Section:
    """Linear CKA of each link, and maps of channel energy of the widest layer that is one.

    Args:
        runs: Of the page.
        networks: Their models.
        batches: Frames as a test loader gives them, one a batch.
        device: This machine's, where none is named.
    """
    section = Section(
        'features',
        'Features',
        'Linear CKA of the student’s layer with the teacher’s, over all cells of '
        f'{len(batches)} validation samples: 1 where one is a rotation and scaling of the other, '
        'whatever their widths. Before: the student as the run’s seed and start made it.',
    )
    distilled = next((r for r in runs if r.role == 'distilled' and r.is_distiller), None)
    if distilled is None or not batches:
        section.notes.append('no distilled run, or no data to run the models on')
        return section
    try:
        distiller = load_distiller(distilled.cfg, device)
    except MISSING as error:
        section.notes.append(f'the distiller of {distilled.name} does not build: {error}')
        return section
    students = {'before': distiller.student}
    for role in ('alone', 'started', 'distilled'):
        network = network_of(networks, role)
        if network is not None:
            students[role] = network.model
    found = {name: _Pair(distiller, link, section.notes) for name, link in distiller.links.items()}
    with torch.no_grad():
        for batch in batches:
            for pair in found.values():
                pair.see(batch, students)
    found = {name: pair for name, pair in found.items() if pair.similarities}
    if found:
        section.blocks.append(_similarities(found, students))
    maps = [pair for pair in found.values() if pair.maps]
    if maps:
        section.blocks.append(_energies(max(maps, key=lambda pair: pair.channels)))
    else:
        section.notes.append('no link joins maps: no channel energy to show')
    return section


class _Pair:
    """The two layers of a link, for all students.

    Args:
        distiller: Holds the teacher.
        link: Which layers; its connectors without weights bring them to the same places.
        notes: Gets a line where the layers cannot be compared.
    """

    def __init__(self, distiller: Distiller, link: Link, notes: list[str]) -> None:
        self.link = link
        self.teacher = distiller.teachers[link.teacher_name].model
        self.notes = notes
        self.similarities: dict[str, LinearCKA] = {}
        self.maps: dict[str, Tensor] = {}
        self.channels = 0
        self.axes: str | None = layer_facts(distiller.student, link.student).get('axes')
        self._is_over = False

    def see(self, batch: Any, students: Mapping[str, nn.Module]) -> None:
        """Add a batch."""
        if self._is_over:
            return
        try:
            teacher = _read(self.teacher, self.link.teacher, self.link.teacher_connector, batch)
            for name, student in students.items():
                value = _read(student, self.link.student, self.link.student_connector, batch)
                rows = same_places(value, teacher)
                self.similarities.setdefault(name, LinearCKA()).add(*rows)
                if name not in self.maps and value.dim() == 4:
                    self.maps[name] = energy(value)
            if 'teacher' not in self.maps and teacher.dim() == 4:
                self.maps['teacher'], self.channels = energy(teacher), teacher.shape[1]
        except MISSING as error:
            self.similarities.clear()
            self._is_over = True
            self.notes.append(f'link {self.link.name}: {error}')


def _read(model: nn.Module, recorder: Any, connectors: Sequence[nn.Module], batch: Any) -> Any:
    """A layer's value on a raw batch, behind the connectors that only move or turn it."""
    recorder = replace(recorder, clone=True)
    with record_layers(model, recorder) as values:
        model.test_step(batch)
    value = values[recorder]
    for connector in connectors:
        if not any(True for _ in connector.parameters()):
            value = connector(value)
    return value


def same_places(student: Any, teacher: Any) -> tuple[Tensor, Tensor]:
    """Return the features of two layers at the same places, ``(N, C)`` and ``(N, D)``.

    Maps ``(B, C, ...)`` of different size are both averaged over the cells of the coarser one.

    Raises:
        ValueError: They are no tensors, or have no places in common.
    """
    if not isinstance(student, Tensor) or not isinstance(teacher, Tensor):
        kinds = ' and '.join(type(value).__name__ for value in (student, teacher))
        raise ValueError(f'not compared here, because its layers return {kinds}')
    sizes = student.shape[2:], teacher.shape[2:]
    if student.dim() != teacher.dim() or len(student) != len(teacher) or student.dim() < 2:
        shapes = f'{tuple(student.shape)} and {tuple(teacher.shape)}'
        raise ValueError(f'not compared here: {shapes} have no places in common')
    if sizes[0] != sizes[1]:
        pool = {1: functional.adaptive_avg_pool1d, 2: functional.adaptive_avg_pool2d}
        if len(sizes[0]) not in pool:
            raise ValueError(f'not compared here: maps of {sizes[0]} and {sizes[1]} cells')
        coarser = tuple(min(pair) for pair in zip(*sizes, strict=True))
        student, teacher = (pool[len(coarser)](v, coarser) for v in (student, teacher))
    return tuple(value.movedim(1, -1).flatten(0, -2) for value in (student, teacher))


def energy(feature: Tensor) -> Tensor:
    """Root mean square over the channels of the first map of ``(B, C, H, W)``: ``(H, W)``."""
    return feature[0].float().square().mean(0).sqrt().cpu()


def _similarities(found: Mapping[str, _Pair], students: Mapping[str, Any]) -> Plot:
    names = {
        'before': 'before training',
        'alone': 'student, alone',
        'started': 'student, started',
        'distilled': 'student, distilled',
    }
    rows = {names[name]: [_value(pair, name) for pair in found.values()] for name in students}
    colours = [COLOURS.get(name, _STARTED) for name in students]
    with page_style():
        figure = new_figure(9.2, 0.9 + 0.24 * len(found) * (len(rows) + 1))
        axes = figure.subplots()
        groups = [f'{name}\n{pair.link.student}' for name, pair in found.items()]
        draw_bars(axes, groups, rows, colours)
        for bars in axes.containers:
            axes.bar_label(bars, fmt='%.2f', fontsize=7, padding=2)
        axes.set_xlim(0, 1.08)
        axes.set_xlabel('linear CKA with the teacher')
        axes.legend(loc='upper left', bbox_to_anchor=(1.0, 1.0))
        svg = as_svg(figure, 'cka')
    return Plot(svg, 'Similarity of the linked layers with the teacher')


def _value(pair: _Pair, name: str) -> float:
    try:
        return pair.similarities[name].value()
    except ValueError as error:  # a feature that is the same everywhere
        pair.notes.append(f'link {pair.link.name}, {name}: {error}')
        return float('nan')


def _energies(pair: _Pair) -> Plot:
    order = [n for n in ('teacher', 'before', 'alone', 'started', 'distilled') if n in pair.maps]
    with page_style():
        figure = new_figure(2.35 * len(order), 2.65)
        for axis, name in zip(figure.subplots(1, len(order), squeeze=False)[0], order, strict=True):
            values = pair.maps[name]
            values = values.T if pair.axes == 'xy' else values
            top = float(torch.quantile(values.flatten(), 0.995)) or 1.0
            origin = 'lower' if pair.axes else 'upper'
            axis.imshow(values, cmap='inferno', vmin=0, vmax=top, origin=origin)
            axis.set(xticks=[], yticks=[])
            axis.set_title(name, loc='left')
            axis.grid(False)
        svg = as_svg(figure, 'energy')
    where = ' (x to the right, y upwards)' if pair.axes else ''
    caption = (
        f'Channel energy at {pair.link.student}: root mean square over the channels, one '
        f'validation sample{where}, each map on its own scale.'
    )
    return Plot(svg, 'Maps of channel energy of teacher and students', caption)
