"""The same frames from above: what is annotated, and what each model finds of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from mmdistill.report import Picture, Section
from mmdistill.report.networks import Network, network_of
from mmdistill3d.report.matching import DISTANCE_M, Match, match, seen
from mmdistill3d.visualization import Boxes, Frame, draw_boxes, draw_points
from mmdistill3d.visualization.bev import COLOURS
from mmdistill3d.visualization.frames import build_dataset, detect, frame_of_dataset

SCORE = 0.2
MISS = '#ff4d5e'
FALSE = '#ff6ad5'
SCORES = matplotlib.colormaps['summer_r']
GROUND, LIGHT = '#161b24', '#dfe5ee'
_PANEL, _LEGENDS = 3.6, 1.95  # inches
_LEGEND = dict(fontsize=9, labelcolor=LIGHT, frameon=False, borderpad=0, handlelength=1.4)
_ROLES = ('teacher', 'alone', 'started', 'distilled')
_PANELS = 4
_DIFFERENT, _OTHERS = 2, 2


@dataclass
class Seen:
    """A frame, and what each model finds in it.

    Args:
        number: Of the frame in its split.
        frame: Points, and the annotated boxes that can be found.
        found: Predictions by the model's name.
        matches: What of it is right.
    """

    number: int
    frame: Frame
    found: Mapping[str, Boxes]
    matches: Mapping[str, Match]

    def describe(self) -> str:
        """Counts of each model, in words."""
        total = len(self.frame.truth.boxes)
        parts = [
            f'{name} finds {int(found.is_found.sum())} of {total} with '
            f'{found.false_alarms} false alarm{"s" * (found.false_alarms != 1)}'
            for name, found in self.matches.items()
        ]
        return f'Frame {self.number}. ' + '; '.join(parts) + '.'


def pictures_section(
    networks: Sequence[Network],
    frames: int,
    report: Callable[[str], Any],
    folder: Path | None = None,
) -> Section:
    """Draw the frames of the validation where two students differ most, and some others.

    Args:
        networks: Models of the runs, in the order of the page.
        frames: How many frames are looked at, spread over the split.
        report: Called with a line where something begins that takes time.
        folder: On request, where the pictures are written to as files, too.
    """
    shown = _shown(networks)
    cfg = shown[-1].cfg
    dataset = build_dataset(cfg, 'val')
    classes = dataset.metainfo['classes']
    range_m = float(np.abs(np.array(cfg.get('point_cloud_range', [-30.0] * 6))[[0, 1, 3, 4]]).max())
    count = min(frames, len(dataset))
    numbers = [round(i * (len(dataset) - 1) / max(count - 1, 1)) for i in range(count)]
    report(f'{len(shown)} models look at {count} of {len(dataset)} validation frames')
    looked = [_look(dataset, number, shown, range_m) for number in numbers]
    chosen = choose(looked, [network.name for network in shown if network.role != 'teacher'])
    section = Section('pictures', 'Frames', _text(looked, shown))
    for number, (one, why) in enumerate(chosen):
        png = _draw(one, shown, classes, range_m)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f'frame_{number}.png').write_bytes(png)
        caption = f'{why}. {one.describe()}'
        section.blocks.append(Picture(_as_webp(png), f'Validation frame {one.number}', caption))
    return section


def choose(looked: Sequence[Seen], students: Sequence[str]) -> list[tuple[Seen, str]]:
    """Choose frames: where the first and the last student differ most, then some in order.

    Args:
        looked: All frames.
        students: Names of the students.

    Returns:
        The frames, each with the reason in words.
    """
    chosen: list[tuple[Seen, str]] = []
    if len(students) > 1:
        one, other = students[0], students[-1]
        order = sorted(
            looked, key=lambda s: s.matches[one].differs_from(s.matches[other]), reverse=True
        )
        why = f'Among {len(looked)} frames one of those in which the students differ most'
        chosen = [(frame, why) for frame in order[:_DIFFERENT]]
    left = [frame for frame in looked if all(frame is not taken for taken, _ in chosen)]
    for place in np.linspace(0, len(left) - 1, min(_OTHERS, len(left)) + 2)[1:-1]:
        chosen.append((left[round(place)], 'Not chosen by result'))
    return chosen


def _shown(networks: Sequence[Network]) -> list[Network]:
    """At most one model a role, and no more than fit beside the annotation."""
    found = [network_of(networks, role) for role in _ROLES]
    found = [network for network in found if network is not None]
    if len(found) >= _PANELS:
        found = [network for network in found if network.role != 'started']
    return found


def _look(dataset: Any, number: int, networks: Sequence[Network], range_m: float) -> Seen:
    frame = frame_of_dataset(dataset, number, str(number), None, SCORE)
    frame.truth = seen(frame.truth, frame.points, range_m)
    data = dataset[number]
    found = {network.name: detect(network.model, data, SCORE) for network in networks}
    matches = {name: match(frame.truth, boxes) for name, boxes in found.items()}
    return Seen(number, frame, found, matches)


def _text(looked: Sequence[Seen], shown: Sequence[Network]) -> str:
    total = sum(len(one.frame.truth.boxes) for one in looked)
    parts = []
    for network in shown:
        found = sum(int(one.matches[network.name].is_found.sum()) for one in looked)
        false = sum(one.matches[network.name].false_alarms for one in looked)
        parts.append(f'{network.name} {found} with {false} false alarms')
    return (
        f'Seen from above, the car drives upwards. Of {total} annotated objects in {len(looked)} '
        f'frames, found with a score of at least {SCORE}: {"; ".join(parts)}. A box counts as '
        f'found where one of its class lies within {DISTANCE_M:g} m.'
    )


def _draw(one: Seen, networks: Sequence[Network], classes: Sequence[str], range_m: float) -> bytes:
    columns = len(networks) + 1
    width, height = _PANEL * columns + _LEGENDS, _PANEL + 0.62
    figure = Figure(figsize=(width, height), facecolor=GROUND)
    top, bottom = 1 - 0.56 / height, 0.06 / height
    grid = figure.add_gridspec(
        1, columns, left=0.06 / width, right=1 - _LEGENDS / width, top=top, bottom=bottom,
        wspace=0.02,
    )  # fmt: skip
    axes = [figure.add_subplot(grid[0, column]) for column in range(columns)]
    _annotation(axes[0], one.frame, classes, range_m)
    for axis, network in zip(axes[1:], networks, strict=True):
        _predictions(axis, one, network, classes, range_m)
    left = 1 - (_LEGENDS - 0.12) / width
    handles = [
        *_classes_of(one.frame, classes),
        Line2D([], [], color=MISS, ls=':', lw=2, label='missed'),
        Line2D([], [], color=FALSE, marker='x', lw=1.3, label='false alarm'),
    ]
    figure.legend(handles=handles, loc='upper left', bbox_to_anchor=(left, top), **_LEGEND)
    scores = ScalarMappable(matplotlib.colors.Normalize(SCORE, 1), SCORES)
    place = (left, bottom, 0.13 / width, 0.85 / height)
    bar = figure.colorbar(scores, cax=figure.add_axes(place))
    bar.set_label('found: its score', color=LIGHT, fontsize=9)
    bar.set_ticks([SCORE, 0.6, 1])
    bar.ax.tick_params(colors=LIGHT, labelsize=9, length=2)
    bar.outline.set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, dpi=120)
    return file.getvalue()


def _annotation(axis: Axes, frame: Frame, classes: Sequence[str], range_m: float) -> None:
    draw_points(axis, frame.points, range_m)
    draw_boxes(axis, frame.truth, classes, '-')
    _title(axis, f'Annotation\n{len(frame.truth.boxes)} objects')


def _classes_of(frame: Frame, classes: Sequence[str]) -> list[Line2D]:
    count = np.bincount(frame.truth.labels, minlength=len(classes))
    return [
        Line2D([], [], color=COLOURS.get(name, '#ffffff'), lw=2, label=name.replace('_', ' '))
        for label, name in enumerate(classes)
        if count[label]
    ]


def _predictions(
    axis: Axes, one: Seen, network: Network, classes: Sequence[str], range_m: float
) -> None:
    truth, found = one.frame.truth, one.found[network.name]
    right = one.matches[network.name]
    draw_points(axis, one.frame.points, range_m)
    missed = Boxes(truth.boxes[~right.is_found], truth.labels[~right.is_found])
    draw_boxes(axis, missed, classes, (0, (1, 1)), [MISS] * len(missed.boxes))
    hits = _part(found, right.is_hit)
    shades = [SCORES((score - SCORE) / (1 - SCORE)) for score in hits.scores]
    draw_boxes(axis, hits, classes, '-', shades, write_scores=False)
    false = _part(found, ~right.is_hit)
    draw_boxes(axis, false, classes, '-', [FALSE] * len(false.boxes), write_scores=False)
    axis.plot(*false.boxes[:, :2].T, 'x', color=FALSE, ms=7, mew=1.6)
    caption = (
        f'{int(right.is_found.sum())} found, {len(missed.boxes)} missed, {len(false.boxes)} false'
    )
    _title(axis, f'{network.name}\n{caption}')


def _part(boxes: Boxes, mask: np.ndarray) -> Boxes:
    return Boxes(boxes.boxes[mask], boxes.labels[mask], boxes.scores[mask])


def _title(axis: Axes, text: str) -> None:
    axis.set_title(text, color=LIGHT, fontsize=12)
    axis.set(xticks=[], yticks=[])


def _as_webp(png: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert('RGB').save(file, 'WEBP', quality=86, method=6)
    return file.getvalue()
