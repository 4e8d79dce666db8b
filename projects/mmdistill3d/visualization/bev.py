"""Single frames seen from above: points, ground truth and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

COLOURS = {
    'car': '#ffb000',
    'truck': '#ff5d3b',
    'trailer': '#c46bff',
    'bus': '#ffe74a',
    'construction_vehicle': '#b5793f',
    'bicycle': '#ff4fa3',
    'motorcycle': '#f0134d',
    'pedestrian': '#35a2ff',
    'traffic_cone': '#31d68f',
    'barrier': '#c3cedb',
}
HEIGHTS = LinearSegmentedColormap.from_list(
    'height', ['#3b4a6b', '#4c86a8', '#57c4ad', '#c7e77f', '#fff3c4']
)
DASHED = (0, (2.2, 1.2))


@dataclass
class Boxes:
    """Boxes in the LiDAR frame.

    Args:
        boxes (np.ndarray): (N, >=7) x, y, z, length, width, height in metres, yaw in radians.
        labels (np.ndarray): (N,) class indices.
        scores (np.ndarray, optional): (N,) confidences; None for ground truth.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None


@dataclass
class Frame:
    """What is drawn in one picture.

    Args:
        name (str): title, and the file name after '/' and blanks are replaced.
        points (np.ndarray): (P, >=3) x, y, z in metres, LiDAR frame.
        truth (Boxes): ground truth.
        predictions (Boxes, optional): detections.
    """

    name: str
    points: np.ndarray
    truth: Boxes
    predictions: Boxes | None = None


def draw_bev(
    frame: Frame, classes: Sequence[str], file: Path, range_m: float = 30.0, dpi: int = 110
) -> None:
    """Write one picture of a frame seen from above: x to the right, y forward.

    Points are coloured by height. Ground truth has solid lines, predictions have dashed lines and
    scores; a tick from the centre through the front shows the heading.

    Args:
        frame (Frame): what to draw.
        classes (Sequence[str]): class names, in the order of the labels.
        file (Path): picture to write; its suffix names the format.
        range_m (float): half the width of the picture. Defaults to 30.
        dpi (int): resolution; the picture is about 10 x 8 inches. Defaults to 110.
    """
    figure = Figure(figsize=(10.6, 8.0), dpi=dpi, layout='compressed')
    axes = figure.subplots()
    dots = draw_points(axes, frame.points, range_m)
    draw_boxes(axes, frame.truth, classes, '-')
    if frame.predictions is not None:
        draw_boxes(axes, frame.predictions, classes, DASHED)
    axes.set(xlabel='x, to the right (m)', ylabel='y, forward (m)', title=frame.name)
    figure.colorbar(dots, ax=axes, label='height above the sensor (m)', shrink=0.45, anchor=(0, 0))
    figure.legend(
        handles=_legend(frame, classes),
        loc='upper left',
        bbox_to_anchor=(1.01, 1.0),
        bbox_transform=axes.transAxes,
        fontsize=8,
        frameon=False,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def draw_points(axes: Axes, points: np.ndarray, range_m: float) -> PathCollection:
    """Draw a cloud from above, coloured by height, with rings of 10 m around the sensor.

    Args:
        axes: To draw in; its limits become ``range_m``.
        points: ``(P, >=3)`` x, y, z in metres, LiDAR frame.
        range_m: Half the width.

    Returns:
        The dots, for a colour bar.
    """
    axes.set_facecolor('#0e1118')
    points = points[np.abs(points[:, :2]).max(axis=1) < range_m]
    x, y, z = points[np.argsort(points[:, 2])][:, :3].T
    dots = axes.scatter(x, y, c=z, s=1.6, cmap=HEIGHTS, vmin=-2, vmax=2, linewidths=0)
    for radius in range(10, int(range_m * 1.5), 10):
        axes.add_patch(Circle((0, 0), radius, fill=False, color='#59657c', lw=0.6, ls=':'))
        if radius < range_m:
            axes.annotate(f'{radius} m', (0.3, radius + 0.3), color='#9aa6bd', fontsize=7)
    axes.plot(0, 0, marker='^', color='white', markersize=8)
    axes.set(xlim=(-range_m, range_m), ylim=(-range_m, range_m), aspect='equal')
    return dots


def draw_boxes(
    axes: Axes,
    objects: Boxes,
    classes: Sequence[str],
    style: Any,
    colours: Sequence[Any] | None = None,
    write_scores: bool = True,
) -> None:
    """Draw boxes from above, each with a tick from its centre through its front.

    A box's length lies along its heading, and a yaw of 0 heads along x, of 90 degrees along y.

    Args:
        axes: To draw in.
        objects: The boxes.
        classes: Class names, in the order of the labels.
        style: Line style.
        colours: Of each box, in place of those of the classes.
        write_scores: Write the scores beside the boxes.
    """
    boxes = np.asarray(objects.boxes, float)
    if not len(boxes):
        return
    outline = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1], [1, 1]]) / 2
    heading = np.zeros((len(boxes), 2, 2))
    heading[:, 1, 0] = boxes[:, 3] / 2 + 0.6
    cos, sin = np.cos(boxes[:, 6, None]), np.sin(boxes[:, 6, None])
    if colours is None:
        colours = [_colour(classes, label) for label in objects.labels]
    for shape in (outline * boxes[:, None, 3:5], heading):
        x = boxes[:, None, 0] + cos * shape[..., 0] - sin * shape[..., 1]
        y = boxes[:, None, 1] + sin * shape[..., 0] + cos * shape[..., 1]
        lines = np.stack([x, y], axis=-1)
        axes.add_collection(LineCollection(lines, colors=colours, linewidths=1.3, linestyles=style))
    if objects.scores is not None and write_scores:
        for box, score, colour in zip(boxes, objects.scores, colours, strict=True):
            axes.annotate(f'{score:.2f}', box[:2], color=colour, fontsize=6, annotation_clip=True)


def _legend(frame: Frame, classes: Sequence[str]) -> list[Line2D]:
    count = np.bincount(frame.truth.labels, minlength=len(classes))
    handles = [
        Line2D([], [], color=_colour(classes, label), lw=2, label=f'{name} ({count[label]})')
        for label, name in enumerate(classes)
    ]
    handles.append(Line2D([], [], color='black', lw=1.3, label='ground truth'))
    if frame.predictions is not None:
        handles.append(Line2D([], [], color='black', lw=1.3, ls=DASHED, label='prediction'))
    return handles


def _colour(classes: Sequence[str], label: int) -> Any:
    """Colour of a class; classes that we do not know take colours in turn."""
    return COLOURS.get(classes[label], matplotlib.colormaps['tab20'](label % 20))
