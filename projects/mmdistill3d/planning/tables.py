"""What a plan is, as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mmdistill.analysis.comparison import measure
from mmdistill.reading import Layer
from mmdistill3d.classes import class_names
from mmdistill3d.examples import example_batch
from mmdistill3d.planning.pair import PARTS, Pair, Side
from mmdistill3d.planning.plan import Plan
from mmdistill3d.reading import bev_axes, bev_range, voxel_size, xy_of

POINTS = 20_000


def describe_pair(pair: Pair) -> str:
    """Return a table of what two detectors are, side by side."""
    columns = [_facts(side) for side in (pair.student, pair.teacher)]
    rows = [('', 'student', 'teacher')]
    names = dict.fromkeys(name for column in columns for name in column)
    rows += [(name, *(column.get(name, '-') for column in columns)) for name in names]
    return aligned(rows)


def describe_plan(plan: Plan) -> str:
    """Return a table of the links, of what is left out, and of how the student starts."""
    links = [
        (
            link.name,
            ' <- '.join(link.layers),
            f'{link.config["loss"]["type"]} x {link.config["loss"]["loss_weight"]:g}',
            link.reason.replace('\n', ' '),
        )
        for link in plan.links
    ]
    left = [(f'{student} <- {teacher}', why) for student, teacher, why in plan.left]
    start = "the teacher's weights" if plan.inherits else 'its own initialisation'
    blocks = [f'linked (recipe {plan.recipe}):\n{aligned(links)}']
    blocks += [f'left out:\n{aligned(left)}'] if left else []
    return '\n\n'.join([*blocks, f'start: {start}: {plan.start}'])


def describe_costs(student: nn.Module, teacher: nn.Module) -> str:
    """Return a table of what two detectors cost on one made-up frame, measured in turns."""
    batch = example_batch(student, samples=1, points=POINTS)
    models = [model.eval() for model in (teacher, student)]
    rows = [('', 'parameters', 'GMACs', 'ms', 'processor ms')]
    costs = measure(models, [batch], repeats=3)
    for name, row in zip(('teacher', 'student'), costs, strict=True):
        macs = (row['dense_macs'] + row['sparse_macs']) / 1e9
        times = [f'{row[key]:.0f}' for key in ('ms_per_frame', 'processor_ms_per_frame')]
        rows.append((name, f'{row["params"] / 1e6:.2f} M', f'{macs:.2f}', *times))
    return f'{aligned(rows)}\non a made-up frame of {POINTS} points, median of 3 turns'


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return '\n'.join(
        '  '.join(
            ['', *(cell.ljust(width) for cell, width in zip(row, widths, strict=True))]
        ).rstrip()
        for row in rows
    )


def _facts(side: Side) -> dict[str, str]:
    model = side.model
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    family = side.family.name if side.family else 'unknown'
    names, limits = class_names(model), bev_range(model)
    facts = {
        'config': side.name,
        'detector': f'{type(model).__name__}, {parameters:.2f} M parameters',
        'head': f'{side.kind("bbox_head")}, family {family}',
        'classes': 'not named' if names is None else f'{len(names)}: {_short(names)}',
        'range': 'unknown' if limits is None else _metres(limits),
        'axes': f'{bev_axes(model)}',
    }
    for part in PARTS[:-1]:
        for number, layer in enumerate(side.maps(part)):
            facts[f'{part}[{number}]'] = _map(layer, voxel_size(model))
    return facts


def _map(layer: Layer, voxel_m: tuple[float, float] | None) -> str:
    """Channels, cells, their size and how many voxels they span."""
    text = f'{layer.recorder}: {layer.channels} x {" x ".join(map(str, layer.size))}'
    if layer.range is None or layer.axes is None or len(layer.size) != 2:
        return text
    x0, _, x1, _ = xy_of(layer.range)
    cell_m = (x1 - x0) / layer.size[layer.axes.index('x')]
    stride = '' if voxel_m is None else f', stride {cell_m / voxel_m[0]:.3g}'
    return f'{text}, cells {cell_m:.3g} m{stride}'


def _short(names: Sequence[str], most: int = 4) -> str:
    more = ', ...' if len(names) > most else ''
    return ', '.join(names[:most]) + more


def _metres(limits: Sequence[float]) -> str:
    x0, y0, x1, y1 = xy_of(limits)
    return f'x {x0:g} .. {x1:g} m, y {y0:g} .. {y1:g} m'
