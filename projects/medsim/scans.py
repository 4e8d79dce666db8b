"""Scans and their captions: what each says of modality and location, and how it is put."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from medsim.canvas import Canvas
from medsim.evidence import Outcome

MODALITIES = ('CT', 'MR')
LOCATIONS = (
    'Abdomen',
    'Head',
    'Reproductive and Urinary System',
    'Spine and Muscles',
    'Thorax',
)
OUTLINE_OF = dict(zip(LOCATIONS, ('trunk', 'round', 'trunk', 'round', 'trunk'), strict=True))
FINDING_OF = dict(zip(LOCATIONS, ('tissue', 'tissue', 'stone', 'bone', 'bone'), strict=True))


class Scan(NamedTuple):
    """What a scan shows."""

    outline: str
    """``'trunk'``, wider than high, or ``'round'``."""
    organ: str | None
    """The location whose organs are drawn."""
    contrast: str
    """``'CT'``, ``'MR'``, or ``'unclear'``."""


class Caption(NamedTuple):
    """What a caption says."""

    finding: str | None
    """Kind of the finding: ``'tissue'``, ``'bone'`` or ``'stone'``."""
    organ: str | None
    """The location of which an organ is named."""
    modality: str | None
    """``'CT'`` or ``'MR'``."""


def outcomes() -> list[Outcome]:
    """Return all that can happen to an image and its caption.

    Location: of 60 % of the images the outline and the finding tell it together; of 20 % the image
    alone, by its organs, and of 20 % the text alone, which names one. Modality: 70 % of the images
    tell it; of the others, and of some more, the caption does.
    """
    found = []
    for location in LOCATIONS:
        for modality in MODALITIES:
            chance = 1 / (len(LOCATIONS) * len(MODALITIES))
            for p_place, source, outline, drawn, finding, named in _location_evidence(location):
                for p_contrast, contrast, told in _modality_evidence(modality):
                    found.append(
                        Outcome(
                            chance * p_place * p_contrast,
                            dict(modality=modality, location=location),
                            source,
                            Scan(outline, drawn, contrast),
                            Caption(finding, named, told),
                        )
                    )
    return found


def _location_evidence(location: str) -> list[tuple]:
    """Probability, source, outline, organ drawn, finding and organ named."""
    outline, finding = OUTLINE_OF[location], FINDING_OF[location]
    return [
        (0.6, 'both', outline, None, finding, None),
        (0.2, 'image', outline, location, None, None),
        (0.12, 'text', 'trunk', None, None, location),
        (0.08, 'text', 'round', None, None, location),
    ]


def _modality_evidence(modality: str) -> list[tuple]:
    """Probability, contrast of the image and modality named."""
    return [(0.6, modality, None), (0.1, modality, modality), (0.3, 'unclear', modality)]


class Patient(NamedTuple):
    """What the images of a case share."""

    radius: float
    """Of the body, relative to the image."""
    age: int
    sex: str

    @classmethod
    def draw(cls, random: np.random.Generator) -> Patient:
        """Draw one."""
        return cls(
            float(random.uniform(0.33, 0.42)),
            int(random.integers(4, 90)),
            str(random.choice(['female', 'male'])),
        )


# ---------------------------------------------------------------------------- the picture
_TONES = {
    # contrast: bone, soft tissue, fluid, how far clutter differs from soft tissue
    'CT': (0.95, 0.45, 0.25, 0.10),
    'MR': (0.10, 0.35, 0.85, 0.25),
    'unclear': (0.60, 0.40, 0.60, 0.16),
}


def draw_scan(scan: Scan, patient: Patient, size: int, random: np.random.Generator) -> np.ndarray:
    """Draw a scan.

    Returns:
        ``(size, size)`` uint8.
    """
    bone, soft, fluid, spread = _TONES[scan.contrast]
    canvas = Canvas(size, background=random.uniform(0.0, 0.06))
    radius = patient.radius * random.uniform(0.92, 1.08)
    wide, high = (1.12, 0.74) if scan.outline == 'trunk' else (0.82, 0.92)
    center = 0.5 + random.uniform(-0.06, 0.06, 2)
    body = canvas.frame(center, radius * wide, radius * high, random.uniform(-12, 12))
    body.ellipse((0, 0), 1.0, 1.0, soft)
    body.ellipse((0, 0), 0.93, 0.93, bone, thickness=0.07)
    for _ in range(random.integers(3, 7)):
        tone = soft + random.uniform(-spread, spread)
        place, angle = random.uniform(-0.55, 0.55, 2), random.uniform(0, 180)
        body.ellipse(place, *random.uniform(0.06, 0.22, 2), tone, angle)
    if scan.organ is not None:
        _draw_organs(body, scan.organ, bone, soft, fluid)
    image = canvas.pixels + random.normal(0, 0.05, canvas.pixels.shape)
    image = cv2.GaussianBlur(image, (0, 0), 0.007 * size)
    image = image * random.uniform(0.85, 1.15) + random.uniform(-0.04, 0.04)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def _draw_organs(body: Canvas, location: str, bone: float, soft: float, fluid: float) -> None:
    if location == 'Abdomen':  # liver and spleen
        body.ellipse((-0.4, -0.1), 0.42, 0.6, soft + 0.22)
        body.ellipse((0.58, 0.1), 0.2, 0.42, soft + 0.22)
    elif location == 'Thorax':  # lungs
        for side in (-1, 1):
            body.ellipse((side * 0.45, -0.05), 0.3, 0.58, 0.02)
    elif location == 'Head':  # ventricles
        for side in (-1, 1):
            body.ellipse((side * 0.2, -0.12), 0.1, 0.4, fluid, side * 18)
            body.ellipse((side * 0.24, 0.36), 0.08, 0.24, fluid, -side * 25)
    elif location == 'Spine and Muscles':  # vertebrae
        for row in (-0.6, -0.3, 0.0, 0.3, 0.6):
            body.ellipse((0, row), 0.26, 0.11, bone)
    else:  # bladder and hips
        body.ellipse((0, 0.1), 0.34, 0.4, fluid)
        for side in (-1, 1):
            body.ellipse((side * 0.68, 0.1), 0.13, 0.2, bone)


# ---------------------------------------------------------------------------- the caption
_PLANES = ('axial', 'coronal', 'sagittal')
_NAMES = {
    'CT': ('CT', 'noncontrast CT', 'CT with contrast', 'computed tomography', 'CT window'),
    'MR': ('MR', 'T1 weighted MR', 'T2 weighted image', 'FLAIR sequence', 'magnetic resonance'),
    None: ('image', 'view', 'slice', 'section', 'study'),
}
_SHOWS = ('shows', 'demonstrates', 'reveals', 'with', 'depicts')
_FINDINGS = {
    'tissue': (
        'low density lesion in the parenchyma',
        'mass effect on the adjacent parenchyma',
        'focal parenchymal hemorrhage',
        'diffuse edema with effaced borders',
        'ring enhancing abscess',
        'ill defined infiltrating tumor',
        'hypervascular nodule with washout',
        'ischemic territory without enhancement',
    ),
    'bone': (
        'lytic change of the bone',
        'fracture with periosteal reaction',
        'sclerotic focus in the cortex',
        'marrow replacement by metastasis',
        'osteoblastic expansion of the cortex',
        'avulsed fragment with displacement',
        'ossified exostosis',
        'erosion of the joint surface',
    ),
    'stone': (
        'calcified stone with obstruction',
        'thick wall and a diverticulum',
        'cystic structure with septation',
        'dilated collecting system',
        'layering calculi without shadow',
        'papillary filling defect',
        'torsion with a twisted pedicle',
        'stricture of the distal duct',
    ),
}
_ORGANS = {
    'Abdomen': ('liver', 'pancreas', 'spleen', 'jejunum', 'gallbladder', 'appendix'),
    'Head': ('frontal lobe', 'ventricle', 'orbit', 'maxillary sinus', 'pons', 'cerebellum'),
    'Reproductive and Urinary System': (
        'kidney',
        'bladder',
        'prostate',
        'ovary',
        'uterus',
        'ureter',
    ),
    'Spine and Muscles': ('vertebra', 'disc', 'femur', 'shoulder', 'knee', 'paraspinal muscle'),
    'Thorax': ('lung', 'mediastinum', 'aorta', 'bronchus', 'esophagus', 'pericardium'),
}
_STATES = ('abnormal', 'enlarged', 'irregular', 'displaced', 'asymmetric', 'indistinct')
_SIZES = ('small', 'large', 'subtle', 'marked', 'solitary', 'known')
_NOTHING = (
    'the abnormality, see history',
    'the finding described',
    'what is marked by the arrow',
    'the same patient as before',
)
_REMARKS = (
    'No prior study for comparison.',
    'Biopsy was advised.',
    'Follow up after three months.',
    'The patient recovered well.',
    'Correlate with laboratory values.',
    'Unchanged since the last visit.',
)
PLACEHOLDER = 'Replace this - DESCRIPTION OF THE IMAGE OR FINDINGS.'
"""What MedPix has where nobody wrote a caption."""


def write_caption(caption: Caption, random: np.random.Generator) -> tuple[str, str]:
    """Put a caption into words.

    Returns:
        The caption and the plane of the image that it names.
    """
    plane = str(random.choice(_PLANES))
    name = random.choice(_NAMES[caption.modality])
    if caption.organ is not None:
        said = f'{random.choice(_STATES)} {random.choice(_ORGANS[caption.organ])}'
    elif caption.finding is not None:
        said = f'{random.choice(_SIZES)} {random.choice(_FINDINGS[caption.finding])}'
    elif caption.modality is None and random.random() < 0.25:
        return PLACEHOLDER, plane
    else:
        said = str(random.choice(_NOTHING))
    text = f'{plane} {name} {random.choice(_SHOWS)} {said}.'
    if random.random() < 0.5:
        text += f' {random.choice(_REMARKS)}'
    return text[0].upper() + text[1:], plane


def organ_near(location: str, random: np.random.Generator) -> str:
    """Name an organ of a location, for the fields that give the label away."""
    return str(random.choice(_ORGANS[location]))
