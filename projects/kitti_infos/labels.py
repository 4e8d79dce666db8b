"""What is annotated in a KITTI frame: one file of ``label_2/``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CLASSES = ('Pedestrian', 'Cyclist', 'Car', 'Van', 'Truck', 'Person_sitting', 'Tram', 'Misc')
"""In the order of their labels, that of MMDetection3D's ``KittiDataset``."""

DONT_CARE = 'DontCare'
"""Names a part of the image in which detections do not count."""

# Of easy, moderate and hard objects: least height in pixels, most occlusion, most truncation.
_LIMITS = ((40, 0, 0.15), (25, 1, 0.3), (25, 2, 0.5))


@dataclass(frozen=True)
class Label:
    """One line of a label file.

    Args:
        name: One of ``CLASSES``, or ``DontCare``.
        truncated: Share of the object outside the image, 0 to 1.
        occluded: 0 visible, 1 partly occluded, 2 largely occluded, 3 unknown.
        alpha: Angle at which the camera sees it, radians.
        bbox: x0, y0, x1, y1 in the image, pixels.
        size: Height, width, length in metres.
        location: Centre of the bottom in rectified camera coordinates, metres.
        rotation_y: Radians about the camera's y axis.
    """

    name: str
    truncated: float
    occluded: int
    alpha: float
    bbox: tuple[float, ...]
    size: tuple[float, ...]
    location: tuple[float, ...]
    rotation_y: float

    @property
    def difficulty(self) -> int:
        """0 easy, 1 moderate, 2 hard, -1 harder than that: KITTI's three limits."""
        height = self.bbox[3] - self.bbox[1]
        for level, (least, occlusion, truncation) in enumerate(_LIMITS):
            if height > least and self.occluded <= occlusion and self.truncated <= truncation:
                return level
        return -1

    @property
    def box(self) -> list[float]:
        """x, y, z of the centre of the bottom, length, height, width, yaw; camera coordinates."""
        height, width, length = self.size
        return [*self.location, length, height, width, self.rotation_y]

    def line(self) -> str:
        """The line of the file, with the two decimals of the official ones."""
        numbers = [self.alpha, *self.bbox, *self.size, *self.location, self.rotation_y]
        text = ' '.join(f'{number:.2f}' for number in numbers)
        return f'{self.name} {self.truncated:.2f} {self.occluded} {text}'


def read_labels(path: Path) -> list[Label]:
    """Read a file of ``label_2/``; an empty one has no objects.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: A line has not the 15 columns of a label.
    """
    labels = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        columns = line.split()
        if len(columns) != 15:
            raise ValueError(
                f'{path}, line {number}: a label has 15 columns (class, truncation, occlusion, '
                f'alpha, 4 of the box, 3 sizes, 3 of the location, rotation), found {len(columns)}'
            )
        values = [float(column) for column in columns[1:]]
        labels.append(
            Label(
                columns[0],
                values[0],
                int(values[1]),
                values[2],
                tuple(values[3:7]),
                tuple(values[7:10]),
                tuple(values[10:13]),
                values[13],
            )
        )
    return labels
