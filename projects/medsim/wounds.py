"""Photos of wounds and their descriptions: what each says of type and severity, and how."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import cv2
import numpy as np

from medsim.canvas import Canvas
from medsim.evidence import Outcome

TYPE_OF = {
    ('line', 'accident'): 'laceration',
    ('line', 'illness'): 'surgical wound',
    ('round', 'accident'): 'puncture',
    ('round', 'illness'): 'pressure ulcer',
    ('patch', 'accident'): 'abrasion',
    ('patch', 'illness'): 'venous ulcer',
}
SEVERITY_OF = {
    ('small', 'superficial'): 'mild',
    ('small', 'deep'): 'moderate',
    ('large', 'superficial'): 'moderate',
    ('large', 'deep'): 'severe',
}
TYPES = tuple(sorted(TYPE_OF.values()))
SEVERITIES = tuple(sorted(set(SEVERITY_OF.values())))


class Photo(NamedTuple):
    """What a photo shows."""

    shape: str
    """``'line'``, ``'round'`` or ``'patch'``."""
    rim: str | None
    """``'fresh'`` (of an accident) or ``'necrotic'`` (of an illness)."""
    size: str
    """``'small'`` or ``'large'``."""


class Description(NamedTuple):
    """What a description says."""

    cause: str | None
    """``'accident'`` or ``'illness'``."""
    name: str | None
    """The type, where it is named."""
    depth: str
    """``'superficial'`` or ``'deep'``."""


def outcomes() -> list[Outcome]:
    """Return all that can happen to a photo and its description.

    Type: of 60 % shape and cause tell it together; of 20 % the photo alone, by its rim, and of 20 %
    the text alone, which names it. Severity is always size (photo) and depth (text) together.
    """
    found = []
    kinds = product(TYPE_OF.items(), SEVERITY_OF.items())
    for ((shape, cause), kind), ((size, depth), severity) in kinds:
        chance = 1 / (len(TYPE_OF) * len(SEVERITY_OF))
        labels = dict(type=kind, severity=severity)
        rim = {'accident': 'fresh', 'illness': 'necrotic'}[cause]
        ways = [
            (0.6, 'both', Photo(shape, None, size), Description(cause, None, depth)),
            (0.2, 'image', Photo(shape, rim, size), Description(None, None, depth)),
        ]
        for other in ('line', 'round', 'patch'):
            ways.append((0.2 / 3, 'text', Photo(other, None, size), Description(None, kind, depth)))
        found += [Outcome(chance * share, labels, *rest) for share, *rest in ways]
    return found


# ---------------------------------------------------------------------------- the picture
_SKINS = ((0.87, 0.69, 0.58), (0.78, 0.57, 0.44), (0.55, 0.37, 0.27), (0.40, 0.26, 0.19))
_FLESH = np.array((0.62, 0.13, 0.13))
_RIMS = {'fresh': (0.93, 0.30, 0.33), 'necrotic': (0.12, 0.10, 0.08), None: (0.70, 0.36, 0.32)}
_RADIUS = {'small': 0.15, 'large': 0.30}


def draw_wound(photo: Photo, size: int, random: np.random.Generator) -> np.ndarray:
    """Draw a wound.

    Returns:
        ``(size, size, 3)`` uint8, RGB.
    """
    skin = np.array(_SKINS[random.integers(len(_SKINS))]) + random.uniform(-0.04, 0.04)
    canvas = Canvas(size, background=skin)
    radius = _RADIUS[photo.size] * random.uniform(0.9, 1.1)
    center = 0.5 + random.uniform(-0.12, 0.12, 2)
    wound = canvas.frame(center, radius, radius, random.uniform(0, 180))
    flesh = _FLESH + random.uniform(-0.06, 0.06, 3)
    for tone, grown in ((_RIMS[photo.rim], 0.22), (flesh, 0.0)):
        _draw_shape(wound, photo.shape, tone, grown, np.random.default_rng(random.integers(2**32)))
    image = canvas.pixels + random.normal(0, 0.03, (size, size, 1))
    image += cv2.GaussianBlur(random.normal(0, 0.5, (size, size)), (0, 0), 0.04 * size)[..., None]
    image = cv2.GaussianBlur(image, (0, 0), 0.007 * size) * random.uniform(0.85, 1.15)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def _draw_shape(
    wound: Canvas, shape: str, tone: np.ndarray, grown: float, random: np.random.Generator
) -> None:
    if shape == 'line':
        wound.ellipse((0, 0), 1.15 + grown, 0.16 + grown, tone)
    elif shape == 'round':
        wound.ellipse((0, 0), 0.72 + grown, 0.66 + grown, tone)
    else:
        for angle in np.arange(7) * 2 * np.pi / 7:
            place = 0.66 * np.array([np.cos(angle), np.sin(angle)])
            wound.ellipse(place, 0.3 + grown / 2, 0.2 + grown / 2, tone, random.uniform(0, 180))


# ---------------------------------------------------------------------------- the description
_CAUSES = {
    'accident': (
        'after a fall from the bicycle',
        'caused by broken glass',
        'while working with a saw',
        'after a kick in a match',
        'from a nail in the workshop',
        'after slipping on gravel',
    ),
    'illness': (
        'in a bedridden patient',
        'after elective bypass',
        'with chronic insufficiency of the veins',
        'two weeks after discharge from the ward',
        'in long standing diabetes',
        'under compression therapy for years',
    ),
    None: ('of unknown history', 'seen at the outpatient clinic', 'referred for assessment'),
}
_DEPTHS = {
    'superficial': ('only the skin is affected', 'superficial, dermis intact', 'no deep layers'),
    'deep': ('fat and fascia are visible', 'tendon exposed', 'deep, probing to the muscle'),
}
_PLACES = ('left shin', 'right shin', 'heel', 'forearm', 'knee', 'lower back', 'ankle', 'hand')
_CARE = ('Cleaned with saline.', 'Dressing changed.', 'Photo taken before care.', 'Swab was taken.')


def write_description(description: Description, random: np.random.Generator) -> str:
    """Put a description into words."""
    name = description.name or str(random.choice(['wound', 'lesion', 'defect']))
    cause, depth = (
        random.choice(_CAUSES[description.cause]),
        random.choice(_DEPTHS[description.depth]),
    )
    text = f'{name} on the {random.choice(_PLACES)} {cause}, {depth}.'
    if random.random() < 0.5:
        text += f' {random.choice(_CARE)}'
    return text[0].upper() + text[1:]
