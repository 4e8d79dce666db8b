"""One clip: a figure acts for a part of it, before a background that drifts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from videosim.actions import ACTIONS, Manner, Pose, pose_at

_SHIFT = 4  # fractional bits of cv2's drawing coordinates
_UPPER_ARM, _LOWER_ARM = 0.2, 0.2  # lengths in body heights
_THIGH, _SHIN, _TRUNK, _NECK, _HEAD = 0.27, 0.27, 0.36, 0.12, 0.085
Color = tuple[float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class Clip:
    """A rendered clip.

    Args:
        frames: ``(T, size, size, 3)`` of uint8, blue first.
        action: Its class.
        begin: First frame of the action.
        end: The frame behind its last one.
    """

    frames: np.ndarray
    action: str
    begin: int
    end: int


@dataclass(frozen=True)
class Look:
    """What the clips of one group share, as those of one filmed person do.

    Args:
        height: Of the body, as a share of the image.
        thickness: Of the limbs, as a share of the body's height.
        colors: Left limbs, right limbs, trunk, head; all bright.
        background: ``(2, 2, 3)`` or more dark colours, from which a texture is interpolated.
    """

    height: float
    thickness: float
    colors: tuple[Color, Color, Color, Color]
    background: np.ndarray


def render_clip(
    action: str,
    group: Sequence[int],
    number: int,
    frames: int = 32,
    size: int = 64,
    trimmed: bool = False,
) -> Clip:
    """Draw one clip; the same arguments give the same pixels, whatever else is drawn.

    Args:
        action: One of :data:`~videosim.actions.ACTIONS`.
        group: Seed of the look that the clips of a group share.
        number: Of the clip within its group.
        frames: Length.
        size: Height and width in pixels.
        trimmed: The action fills the clip; otherwise it takes 30 to 45 % of it, anywhere.
    """
    label = list(ACTIONS).index(action)
    look = draw_look(np.random.default_rng([*group, label]))
    draws = np.random.default_rng([*group, label, number + 1])
    manner = Manner(size=draws.uniform(0.8, 1.15), cycles=draws.uniform(1.5, 3.0))
    share = draws.uniform(0.30, 0.45)
    start = draws.uniform(0, 1 - share)
    if trimmed:
        start, share = 0.0, 1.0
    facing = float(draws.choice([-1, 1]))
    place = draws.uniform(0.4, 0.6), draws.uniform(0.5, 0.58)
    sway = draws.uniform(0, 2 * np.pi)
    background = Background(look, size, draws)
    times = np.arange(frames) / max(frames - 1, 1)
    images = np.empty((frames, size, size, 3), np.uint8)
    for index, time in enumerate(times):
        pose = pose_at(action, (time - start) / share, manner)
        pose = replace(pose, lean=pose.lean + 0.03 * np.sin(6 * time + sway))
        image = background.at(time)
        draw_figure(image, pose, look, place, facing)
        image += draws.normal(0, 4, image.shape)
        images[index] = np.clip(image, 0, 255)
    acting = np.flatnonzero((times >= start) & (times <= start + share))
    return Clip(images, action, int(acting[0]), int(acting[-1]) + 1)


def draw_look(draws: np.random.Generator) -> Look:
    """Draw what the clips of a group share."""
    cells = int(draws.integers(3, 7))
    base = draws.uniform(50, 115)
    return Look(
        height=draws.uniform(0.62, 0.8),
        thickness=draws.uniform(0.05, 0.085),
        colors=tuple(tuple(map(float, draws.uniform(205, 255, 3))) for _ in range(4)),
        background=np.clip(base + draws.uniform(-38, 38, (cells, cells, 3)), 0, 255),
    )


class Background:
    """A texture that pans, and at times a disc that flies by."""

    def __init__(self, look: Look, size: int, draws: np.random.Generator) -> None:
        self.size = size
        texture = look.background.astype(np.float32)
        self.image = cv2.resize(texture, (2 * size, 2 * size), interpolation=cv2.INTER_CUBIC)
        self.pan = draws.uniform(-0.2, 0.2, 2) * size
        self.discs = [
            (
                draws.uniform(0, size, 2),
                draws.uniform(-0.6, 0.6, 2) * size,
                int(draws.uniform(0.03, 0.09) * size) + 1,
                tuple(map(float, draws.uniform(205, 255, 3))),
            )
            for _ in range(draws.integers(0, 2))
        ]

    def at(self, time: float) -> np.ndarray:
        """The background ``(size, size, 3)`` at a time from 0 to 1, to be drawn upon."""
        x, y = (self.pan * time + self.size / 2).astype(int)
        image = self.image[y : y + self.size, x : x + self.size].copy()
        for start, velocity, radius, color in self.discs:
            centre = tuple((start + velocity * time).astype(int).tolist())
            cv2.circle(image, centre, radius, color, -1, cv2.LINE_AA)
        return image


def draw_figure(image: np.ndarray, pose: Pose, look: Look, place: Point, facing: float) -> None:
    """Draw a figure into an image.

    Args:
        image: ``(size, size, 3)`` of float32.
        pose: Of its joints.
        look: Its build and colours.
        place: Of its hip where it stands, as shares of width and height.
        facing: 1 looks to the right, -1 to the left.
    """
    size = image.shape[0]
    height = look.height * size
    width = max(1, round(look.thickness * height))

    def reach(start: Point, angle: float, length: float) -> Point:
        return (
            start[0] + facing * np.sin(angle) * length * height,
            start[1] + np.cos(angle) * length * height,
        )

    def line(start: Point, end: Point, color: Color, thickness: int) -> None:
        cv2.line(image, _fixed(start), _fixed(end), color, thickness, cv2.LINE_AA, _SHIFT)

    hip = (place[0] * size + facing * pose.shift * height, place[1] * size + pose.drop * height)
    neck = reach(hip, np.pi - pose.lean, _TRUNK)
    shoulder = reach(hip, np.pi - pose.lean, 0.92 * _TRUNK)
    left, right, trunk, head = look.colors
    for leg, knee, color in zip(pose.legs, pose.knees, (left, right), strict=True):
        joint = reach(hip, leg, _THIGH)
        line(hip, joint, color, width)
        line(joint, reach(joint, leg - knee, _SHIN), color, width)
    line(hip, neck, trunk, int(1.7 * width) + 1)
    for arm, elbow, color in zip(pose.arms, pose.elbows, (left, right), strict=True):
        angle = arm + 0.3 * pose.lean
        joint = reach(shoulder, angle, _UPPER_ARM)
        line(shoulder, joint, color, width)
        line(joint, reach(joint, angle + elbow, _LOWER_ARM), color, width)
    radius = int(_HEAD * height * 2**_SHIFT)
    centre = _fixed(reach(neck, np.pi - pose.lean, _NECK))
    cv2.circle(image, centre, radius, head, -1, cv2.LINE_AA, _SHIFT)


def _fixed(point: Point) -> tuple[int, int]:
    return round(point[0] * 2**_SHIFT), round(point[1] * 2**_SHIFT)
