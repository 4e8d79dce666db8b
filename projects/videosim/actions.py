"""What a figure's joints do in each action, as functions of the action's phase."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Pose:
    """Joint angles in radians and the body's place.

    Limbs hang down at 0 and swing forward, the way the figure looks, with positive angles. An
    elbow adds to its arm, a knee bends back from its leg.

    Args:
        lean: Of the trunk, forward.
        arms: Left and right upper arm.
        elbows: Left and right.
        legs: Left and right thigh.
        knees: Left and right.
        drop: How far the hip sinks, in body heights; negative in a jump.
        shift: How far the body has moved forward, in body heights.
    """

    lean: float = 0.0
    arms: tuple[float, float] = (0.15, -0.15)
    elbows: tuple[float, float] = (0.1, -0.1)
    legs: tuple[float, float] = (0.08, -0.08)
    knees: tuple[float, float] = (0.0, 0.0)
    drop: float = 0.0
    shift: float = 0.0


@dataclass(frozen=True)
class Manner:
    """How one clip's figure moves.

    Args:
        size: Factor of large movements, around 1.
        cycles: How often what repeats is repeated within the action.
    """

    size: float = 1.0
    cycles: float = 2.0


STANDING = Pose()


def walk(phase: float, manner: Manner) -> Pose:
    swing = _swing(phase, manner)
    arm, leg = 0.45 * manner.size * swing, 0.42 * manner.size * swing
    return Pose(
        arms=(arm, -arm),
        legs=(-leg, leg),
        knees=(0.25 * max(0.0, swing), 0.25 * max(0.0, -swing)),
        shift=0.25 * (phase - 0.5),
    )


def run(phase: float, manner: Manner) -> Pose:
    swing = _swing(phase, manner)
    arm, leg = 0.95 * manner.size * swing, 0.8 * manner.size * swing
    return Pose(
        lean=0.22,
        arms=(arm, -arm),
        elbows=(1.1, 1.1),
        legs=(-leg, leg),
        knees=(max(0.0, swing) + 0.2, max(0.0, -swing) + 0.2),
        drop=-0.03 * math.sqrt(1 - swing**2),
        shift=0.4 * (phase - 0.5),
    )


def jump(phase: float, manner: Manner) -> Pose:
    height = abs(math.sin(math.pi * round(manner.cycles) * phase))
    return Pose(
        arms=(0.5 * height + 0.2, -0.5 * height - 0.2),
        legs=(0.1, -0.1),
        knees=(0.5 * (1 - height), 0.5 * (1 - height)),
        drop=-0.25 * manner.size * height,
    )


def wave(phase: float, manner: Manner) -> Pose:
    swing = _swing(phase, manner)
    return replace(STANDING, arms=(0.15, -2.5), elbows=(0.1, -0.55 * swing - 0.1))


def clap(phase: float, manner: Manner) -> Pose:
    apart = 0.5 + 0.5 * math.cos(4 * math.pi * manner.cycles * phase)
    arm, elbow = 0.9 + 0.5 * apart, -1.4 + 0.72 * apart
    return replace(STANDING, arms=(arm, -arm), elbows=(elbow, -elbow))


def box(phase: float, manner: Manner) -> Pose:
    swing = _swing(phase, manner)
    left, right = max(0.0, swing), max(0.0, -swing)
    return replace(
        STANDING,
        lean=0.08 * swing,
        arms=(1.2 + 0.35 * left, 1.2 + 0.35 * right),
        elbows=(1.4 * (1 - left), 1.4 * (1 - right)),
    )


def bow(phase: float, manner: Manner) -> Pose:
    down = _there_and_back(phase)
    return replace(
        STANDING, lean=1.15 * manner.size * down, arms=(0.15 + 0.9 * down, -0.15 + 0.9 * down)
    )


def kick(phase: float, manner: Manner) -> Pose:
    up = max(0.0, _swing(phase, manner))
    return replace(
        STANDING,
        lean=-0.25 * up,
        arms=(0.5 * up, -0.5 * up),
        legs=(0.08, 1.45 * manner.size * up - 0.08),
        knees=(0.0, 0.2 * (1 - up)),
    )


def jumping_jack(phase: float, manner: Manner) -> Pose:
    apart = 0.5 - 0.5 * math.cos(2 * math.pi * manner.cycles * phase)
    arm, leg = 0.2 + 2.4 * apart, 0.08 + 0.45 * apart
    return Pose(arms=(arm, -arm), legs=(leg, -leg), drop=-0.05 * abs(_swing(phase, manner)))


def squat(phase: float, manner: Manner) -> Pose:
    return crouch(_there_and_back(phase), manner)


def sit_down(phase: float, manner: Manner) -> Pose:
    return crouch(_ramp(phase), manner)


def stand_up(phase: float, manner: Manner) -> Pose:
    return crouch(_ramp(1 - phase), manner)


def crouch(depth: float, manner: Manner) -> Pose:
    """Standing at 0, sitting at 1: the poses that squat, sit_down and stand_up share."""
    depth *= min(manner.size, 1.0)
    return Pose(
        lean=0.25 * depth,
        arms=(0.15 + 0.6 * depth, -0.15 + 0.6 * depth),
        legs=(1.25 * depth, 1.15 * depth),
        knees=(1.45 * depth, 1.4 * depth),
        drop=0.23 * depth,
    )


ACTIONS: dict[str, Callable[[float, Manner], Pose]] = {
    action.__name__: action
    for action in (
        walk,
        run,
        jump,
        wave,
        clap,
        box,
        bow,
        kick,
        jumping_jack,
        squat,
        sit_down,
        stand_up,
    )
}
ORDERED_PAIR = ('sit_down', 'stand_up')
"""Each is the other backwards: without the order of frames nothing tells them apart."""


def pose_at(action: str, phase: float, manner: Manner) -> Pose:
    """Return the pose before (phase below 0), within and after (above 1) an action.

    Before and after, the figure stands, or sits where the action begins or ends sitting, at the
    place where the action begins or ends.
    """
    inside = ACTIONS[action](float(np.clip(phase, 0, 1)), manner)
    if 0 <= phase <= 1 or action in ORDERED_PAIR:
        return inside
    return replace(STANDING, shift=inside.shift)


def _swing(phase: float, manner: Manner) -> float:
    return math.sin(2 * math.pi * manner.cycles * phase)


def _there_and_back(phase: float) -> float:
    return 0.5 - 0.5 * math.cos(2 * math.pi * phase)


def _ramp(phase: float) -> float:
    return phase * phase * (3 - 2 * phase)
