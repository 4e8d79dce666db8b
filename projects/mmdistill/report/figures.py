"""Drawings of a page: one look, readable on light and on dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    'teacher': '#9a6dd7',
    'alone': '#d9822b',
    'started': '#1f9e8f',
    'distilled': '#3b7ded',
}
"""Of each role; they stand out on white as on black."""

SERIES = ('#3b7ded', '#d9822b', '#1f9e8f', '#c94f7c', '#9a6dd7', '#8a8f98', '#b59f00', '#5aa9e6')
LINE_STYLES = ('-', '--', ':', '-.')

_INK = '#010203'  # becomes the colour of the page's text
_IDS = re.compile(r'\bid="|url\(#|href="#')  # where an SVG names its parts
_STYLE = {
    'text.color': _INK,
    'axes.edgecolor': _INK,
    'axes.labelcolor': _INK,
    'axes.titlecolor': _INK,
    'xtick.color': _INK,
    'ytick.color': _INK,
    'grid.color': _INK,
    'grid.alpha': 0.14,
    'axes.grid': True,
    'axes.axisbelow': True,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.linewidth': 0.6,
    'axes.facecolor': 'none',
    'figure.facecolor': 'none',
    'savefig.facecolor': 'none',
    'legend.frameon': False,
    'font.size': 9,
    'axes.titlesize': 10,
    'axes.titleweight': 'bold',
    'legend.fontsize': 8,
    'svg.fonttype': 'none',
}


@contextmanager
def page_style() -> Iterator[None]:
    """Draw in the page's look within this block."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout='constrained')


def as_svg(figure: Figure, name: str) -> str:
    """Return a figure as an ``<svg>`` element whose ink is the text colour of what is around it.

    Args:
        figure: Drawn within :func:`page_style`.
        name: Sets its ids apart from those of the page's other drawings.
    """
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({**_STYLE, 'svg.hashsalt': name}):
        figure.savefig(text, format='svg', metadata=dict.fromkeys(('Date', 'Creator', 'Format')))
    svg = text.getvalue()
    svg = svg[svg.index('<svg') :].replace(_INK, 'currentColor')
    return _IDS.sub(rf'\g<0>{name}-', svg)


def draw_bars(
    axes: Axes, groups: Sequence[str], rows: Mapping[str, Sequence[float]], colours: Sequence[str]
) -> None:
    """Draw horizontal bars, one group below the other and in each a bar for each row.

    Args:
        axes: To draw in.
        groups: Names of the groups, from top to bottom.
        rows: A value for each group (NaN for none), by the row's name.
        colours: Of the rows.
    """
    thickness = 0.8 / max(len(rows), 1)
    for number, (name, values) in enumerate(rows.items()):
        places = [place - 0.4 + (number + 0.5) * thickness for place in range(len(groups))]
        axes.barh(places, values, thickness * 0.88, color=colours[number], label=name)
    axes.set_yticks(range(len(groups)), groups)
    axes.set_ylim(len(groups) - 0.45, -0.55)
    axes.grid(axis='y', visible=False)
    axes.tick_params(axis='y', length=0)
