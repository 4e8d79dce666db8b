"""The ten detection classes as a few boxes each, different front to back."""

from dataclasses import dataclass

import numpy as np

MARGIN_M = 0.03
"""Gap between a part's surface and the annotated box, so that noisy returns stay inside it."""

# Reflectivity of a material in 0..1; 'paint' is drawn anew for each object.
_REFLECTIVITY = {
    'glass': 0.06,
    'rubber': 0.08,
    'steel': 0.30,
    'cloth': 0.35,
    'skin': 0.50,
    'plastic': 0.45,
    'reflex': 0.95,
}

# A part is (x0, x1, y0, y1, z0, z1, material): fractions of length (x forward, -0.5..0.5),
# width (y left, -0.5..0.5) and height (z up, 0..1) of the annotated box.
_WHEELS = ((-0.40, -0.24, -0.5, 0.5, 0, 0.40, 'rubber'), (0.25, 0.41, -0.5, 0.5, 0, 0.40, 'rubber'))
_SEDAN = (
    (-0.50, 0.50, -0.5, 0.5, 0.15, 0.55, 'paint'),
    (-0.34, 0.04, -0.42, 0.42, 0.55, 1.0, 'paint'),
    (0.04, 0.19, -0.42, 0.42, 0.55, 0.82, 'glass'),
    (-0.42, -0.34, -0.42, 0.42, 0.55, 0.78, 'glass'),
    *_WHEELS,
)
_HATCHBACK = (
    (-0.50, 0.50, -0.5, 0.5, 0.14, 0.54, 'paint'),
    (-0.49, 0.08, -0.44, 0.44, 0.54, 1.0, 'paint'),
    (0.08, 0.22, -0.44, 0.44, 0.54, 0.80, 'glass'),
    *_WHEELS,
)
_BOX_TRUCK = (
    (0.29, 0.50, -0.46, 0.46, 0.16, 0.78, 'paint'),
    (0.49, 0.50, -0.40, 0.40, 0.45, 0.74, 'glass'),
    (-0.50, 0.25, -0.5, 0.5, 0.27, 1.0, 'plastic'),
    (-0.48, 0.42, -0.2, 0.2, 0.14, 0.27, 'steel'),
    (-0.38, -0.20, -0.5, 0.5, 0, 0.27, 'rubber'),
    (0.32, 0.44, -0.5, 0.5, 0, 0.27, 'rubber'),
)
_FLATBED_TRUCK = (
    (0.26, 0.50, -0.5, 0.5, 0.16, 1.0, 'paint'),
    (0.49, 0.50, -0.42, 0.42, 0.60, 0.95, 'glass'),
    (-0.50, 0.24, -0.5, 0.5, 0.30, 0.52, 'steel'),
    (-0.40, -0.18, -0.5, 0.5, 0, 0.30, 'rubber'),
    (0.30, 0.43, -0.5, 0.5, 0, 0.30, 'rubber'),
)
_BUS = (
    (-0.50, 0.47, -0.46, 0.46, 0.11, 0.90, 'paint'),
    (0.47, 0.50, -0.46, 0.46, 0.11, 0.42, 'paint'),
    (0.47, 0.49, -0.44, 0.44, 0.42, 0.88, 'glass'),
    (-0.46, -0.12, -0.34, 0.34, 0.90, 1.0, 'plastic'),
    (0.46, 0.50, -0.5, -0.46, 0.50, 0.75, 'steel'),
    (0.46, 0.50, 0.46, 0.5, 0.50, 0.75, 'steel'),
    (-0.34, -0.25, -0.47, 0.47, 0, 0.28, 'rubber'),
    (0.25, 0.34, -0.47, 0.47, 0, 0.28, 'rubber'),
)
_BOX_TRAILER = (
    (-0.50, 0.40, -0.5, 0.5, 0.33, 1.0, 'plastic'),
    (0.40, 0.50, -0.12, 0.12, 0.27, 0.36, 'steel'),
    (-0.44, -0.12, -0.48, 0.48, 0, 0.33, 'rubber'),
    (0.28, 0.31, -0.40, 0.40, 0, 0.33, 'steel'),
)
_OPEN_TRAILER = (
    (-0.50, 0.36, -0.5, 0.5, 0.36, 0.55, 'steel'),
    (0.32, 0.36, -0.5, 0.5, 0.55, 1.0, 'steel'),
    (-0.35, 0.12, -0.35, 0.35, 0.55, 0.85, 'plastic'),
    (0.36, 0.50, -0.10, 0.10, 0.30, 0.40, 'steel'),
    (-0.46, -0.14, -0.48, 0.48, 0, 0.36, 'rubber'),
)
_EXCAVATOR = (
    (-0.42, 0.18, -0.5, -0.24, 0, 0.26, 'rubber'),
    (-0.42, 0.18, 0.24, 0.5, 0, 0.26, 'rubber'),
    (-0.50, 0.06, -0.46, 0.46, 0.28, 0.62, 'paint'),
    (-0.12, 0.12, 0.08, 0.46, 0.62, 0.92, 'glass'),
    (0.06, 0.30, -0.16, 0.02, 0.55, 1.0, 'paint'),
    (0.30, 0.42, -0.16, 0.02, 0.34, 0.88, 'paint'),
    (0.36, 0.50, -0.30, 0.16, 0, 0.34, 'steel'),
)
_WHEEL_LOADER = (
    (-0.50, -0.06, -0.40, 0.40, 0.22, 0.60, 'paint'),
    (-0.12, 0.10, -0.34, 0.34, 0.40, 1.0, 'glass'),
    (0.10, 0.38, -0.14, 0.14, 0.28, 0.45, 'paint'),
    (0.36, 0.50, -0.5, 0.5, 0.02, 0.36, 'steel'),
    (-0.42, -0.18, -0.45, 0.45, 0, 0.44, 'rubber'),
    (0.06, 0.30, -0.45, 0.45, 0, 0.44, 'rubber'),
)
_BICYCLE = (
    (-0.50, -0.14, -0.09, 0.09, 0, 0.60, 'rubber'),
    (0.14, 0.50, -0.09, 0.09, 0, 0.60, 'rubber'),
    (-0.16, 0.22, -0.08, 0.08, 0.32, 0.70, 'steel'),
    (-0.20, -0.06, -0.18, 0.18, 0.76, 0.88, 'plastic'),
    (0.18, 0.28, -0.5, 0.5, 0.86, 1.0, 'steel'),
)
_CYCLIST = (
    (-0.50, -0.14, -0.09, 0.09, 0, 0.38, 'rubber'),
    (0.14, 0.50, -0.09, 0.09, 0, 0.38, 'rubber'),
    (-0.16, 0.22, -0.10, 0.10, 0.20, 0.46, 'steel'),
    (0.20, 0.28, -0.5, 0.5, 0.56, 0.64, 'steel'),
    (-0.20, 0.06, -0.28, 0.28, 0.22, 0.55, 'cloth'),
    (-0.18, 0.10, -0.40, 0.40, 0.55, 0.84, 'cloth'),
    (-0.02, 0.12, -0.17, 0.17, 0.84, 1.0, 'skin'),
)
_MOTORCYCLE = (
    (-0.50, -0.20, -0.16, 0.16, 0, 0.52, 'rubber'),
    (0.22, 0.50, -0.12, 0.12, 0, 0.52, 'rubber'),
    (-0.24, 0.26, -0.28, 0.28, 0.22, 0.66, 'paint'),
    (-0.42, 0.00, -0.24, 0.24, 0.62, 0.76, 'plastic'),
    (0.12, 0.30, -0.5, 0.5, 0.74, 0.92, 'steel'),
    (0.22, 0.34, -0.26, 0.26, 0.60, 1.0, 'glass'),
)
_MOTORCYCLIST = (
    (-0.50, -0.20, -0.16, 0.16, 0, 0.37, 'rubber'),
    (0.22, 0.50, -0.12, 0.12, 0, 0.37, 'rubber'),
    (-0.24, 0.26, -0.28, 0.28, 0.16, 0.46, 'paint'),
    (0.12, 0.30, -0.5, 0.5, 0.52, 0.64, 'steel'),
    (0.22, 0.34, -0.26, 0.26, 0.42, 0.70, 'glass'),
    (-0.30, 0.00, -0.36, 0.36, 0.46, 0.82, 'cloth'),
    (-0.16, -0.02, -0.18, 0.18, 0.82, 1.0, 'plastic'),
)
_PEDESTRIAN = (
    (-0.34, 0.02, 0.06, 0.34, 0, 0.48, 'cloth'),
    (-0.02, 0.40, -0.34, -0.06, 0, 0.48, 'cloth'),
    (-0.22, 0.22, -0.40, 0.40, 0.46, 0.84, 'cloth'),
    (-0.50, -0.22, -0.28, 0.28, 0.52, 0.80, 'plastic'),
    (0.10, 0.50, -0.5, -0.34, 0.55, 0.64, 'skin'),
    (-0.08, 0.22, -0.18, 0.18, 0.84, 1.0, 'skin'),
)
_WORKER = tuple((*part[:6], 'reflex' if part[6] == 'cloth' else part[6]) for part in _PEDESTRIAN)
_CONE = (
    (-0.5, 0.5, -0.5, 0.5, 0, 0.08, 'rubber'),
    (-0.34, 0.34, -0.34, 0.34, 0.08, 0.36, 'plastic'),
    (-0.26, 0.26, -0.26, 0.26, 0.36, 0.66, 'reflex'),
    (-0.18, 0.18, -0.18, 0.18, 0.66, 1.0, 'plastic'),
)
_BARRIER = (
    (-0.5, 0.5, -0.5, 0.5, 0, 0.26, 'plastic'),
    (-0.26, 0.26, -0.5, 0.5, 0.26, 0.80, 'reflex'),
    (-0.16, 0.16, -0.5, 0.5, 0.80, 1.0, 'plastic'),
)


@dataclass(frozen=True)
class Kind:
    """What is common to all objects of one kind.

    Args:
        category: Name in nuScenes' category table.
        size_m: Typical (length, width, height) of the annotated box.
        spread: Relative standard deviation of the size.
        variants: Part lists; each object takes one at random.
    """

    category: str
    size_m: tuple[float, float, float]
    spread: float
    variants: tuple[tuple, ...]

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw one object.

        Args:
            rng: Random generator of the scene.

        Returns:
            Size (3,) in metres (length, width, height; rounded to 1 mm) and parts (P, 7) in the
            object's frame: x0, x1, y0, y1, z0, z1 in metres and reflectivity in 0..1.
        """
        scale = 1 + self.spread * np.clip(rng.standard_normal(3), -2, 2)
        size = np.round(np.asarray(self.size_m) * scale, 3)
        paint = rng.uniform(0.12, 0.75)
        variant = self.variants[rng.integers(len(self.variants))]
        inner = size - [2 * MARGIN_M, 2 * MARGIN_M, MARGIN_M]
        parts = np.empty((len(variant), 7))
        parts[:, :6] = np.array([part[:6] for part in variant]) * np.repeat(inner, 2)
        parts[:, 6] = [_REFLECTIVITY.get(part[6], paint) for part in variant]
        return size, parts


KINDS = {
    'car': Kind('vehicle.car', (4.6, 1.9, 1.6), 0.05, (_SEDAN, _HATCHBACK)),
    'truck': Kind('vehicle.truck', (7.0, 2.5, 3.0), 0.06, (_BOX_TRUCK, _FLATBED_TRUCK)),
    'bus': Kind('vehicle.bus.rigid', (10.8, 2.9, 3.4), 0.04, (_BUS,)),
    'trailer': Kind('vehicle.trailer', (9.0, 2.6, 3.7), 0.06, (_BOX_TRAILER, _OPEN_TRAILER)),
    'construction_vehicle': Kind(
        'vehicle.construction', (6.3, 2.7, 3.1), 0.06, (_EXCAVATOR, _WHEEL_LOADER)
    ),
    'bicycle': Kind('vehicle.bicycle', (1.75, 0.62, 1.12), 0.04, (_BICYCLE,)),
    'cyclist': Kind('vehicle.bicycle', (1.78, 0.64, 1.75), 0.04, (_CYCLIST,)),
    'motorcycle': Kind('vehicle.motorcycle', (2.1, 0.82, 1.25), 0.04, (_MOTORCYCLE,)),
    'motorcyclist': Kind('vehicle.motorcycle', (2.1, 0.84, 1.75), 0.04, (_MOTORCYCLIST,)),
    'pedestrian': Kind('human.pedestrian.adult', (0.72, 0.70, 1.76), 0.05, (_PEDESTRIAN,)),
    'child': Kind('human.pedestrian.child', (0.55, 0.52, 1.30), 0.06, (_PEDESTRIAN,)),
    'worker': Kind('human.pedestrian.construction_worker', (0.74, 0.72, 1.80), 0.04, (_WORKER,)),
    'traffic_cone': Kind('movable_object.trafficcone', (0.45, 0.45, 1.05), 0.06, (_CONE,)),
    'barrier': Kind('movable_object.barrier', (0.52, 2.3, 1.05), 0.04, (_BARRIER,)),
}
"""All kinds of moving, parked and placed objects, by name."""
