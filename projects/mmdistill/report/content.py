"""What a page is made of; ``page.html.j2`` has a form for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Table:
    """Rows of text; the first column names the row.

    Args:
        head: Headings.
        rows: Cells of each row, as many as there are headings.
        caption: Where the numbers come from.
        strong: Index of the row that matters most, if any.
    """

    kind: ClassVar[str] = 'table'
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ''
    strong: int | None = None


@dataclass(frozen=True)
class Plot:
    """A drawing of lines and text.

    Args:
        svg: Its ``<svg>`` element, see :func:`mmdistill.report.figures.as_svg`.
        label: What it shows, for those who do not see it.
        caption: Text below it.
    """

    kind: ClassVar[str] = 'plot'
    svg: str
    label: str
    caption: str = ''


@dataclass(frozen=True)
class Picture:
    """A picture of pixels.

    Args:
        data: Content of a PNG or WebP file.
        label: What it shows, for those who do not see it.
        caption: Text below it.
    """

    kind: ClassVar[str] = 'picture'
    data: bytes
    label: str
    caption: str = ''

    @property
    def media_type(self) -> str:
        """As a data URI names it."""
        return 'image/png' if self.data.startswith(b'\x89PNG') else 'image/webp'


@dataclass(frozen=True)
class DiagramRow:
    """One link: the student's layer, what joins it, the teacher's layer."""

    name: str
    student: str
    teacher: str
    loss: str
    weight: str
    details: Sequence[str] = ()


@dataclass(frozen=True)
class Diagram:
    """The links of a distiller, one a row.

    Args:
        student, teacher: What the two columns are called.
        rows: The links.
        caption: Text below it.
    """

    kind: ClassVar[str] = 'diagram'
    student: str
    teacher: str
    rows: Sequence[DiagramRow]
    caption: str = ''


Block = Table | Plot | Picture | Diagram


@dataclass
class Section:
    """A part of the page.

    Args:
        key: Its anchor.
        title: Its heading.
        text: What there is to see, in a sentence or two.
        blocks: What it shows.
        notes: What is missing, and why; a line each.
    """

    key: str
    title: str
    text: str = ''
    blocks: list[Block] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
