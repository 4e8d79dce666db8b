"""The page as one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmdistill.report.content import Section


@dataclass(frozen=True)
class Page:
    """A page.

    Args:
        title: Its heading.
        subtitle: The line below.
        sections: Its parts, in their order.
        notes: What is missing from all of it.
        origin: Commit, date and machine that wrote it, as
            :func:`~mmdistill.analysis.tables.describe_run` gives them.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    notes: Sequence[str]
    origin: Mapping[str, str]


def render(page: Page) -> str:
    """Return the page as HTML: no script, no network, light and dark, printable."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader('mmdistill.report', ''),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['base64'] = lambda data: base64.b64encode(data).decode()
    return environment.get_template('page.html.j2').render(page=page)
