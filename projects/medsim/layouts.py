"""The files of the two data sets, as their real counterparts have them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from medsim import scans, wounds
from medsim.evidence import Draw, Outcome
from medsim.parameters import Parameters, split_numbers

MEDPIX, WOUND = 'MedPix-2-0', 'Wound-1-0'
_MEDPIX_STREAM, _WOUND_STREAM = 1, 2


def write_medpix(root: Path, parameters: Parameters) -> Iterator[str]:
    """Write ``MedPix-2-0/`` and ``evidence/medpix.jsonl`` below a folder.

    Images of one case are of one patient and one location, and in one split.

    Yields:
        The caption of each training image.
    """
    folder = root / MEDPIX
    for name in ('images', 'splitted_dataset'):
        (folder / name).mkdir(parents=True)
    draw = {
        location: Draw([o for o in scans.outcomes() if o.labels['location'] == location])
        for location in scans.LOCATIONS
    }
    evidence = []
    for split, numbers in split_numbers(parameters.cases).items():
        cases, descriptions = [], []
        for number in numbers:
            random = np.random.default_rng([parameters.seed, _MEDPIX_STREAM, number])
            uid, patient = f'MPX{number:05d}', scans.Patient.draw(random)
            location = str(random.choice(scans.LOCATIONS))
            count = int(random.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))
            rows = []
            for place in range(count):
                outcome = draw[location](random)
                image = f'{uid}_synpic{number * 3 + place:06d}'
                picture = scans.draw_scan(outcome.image, patient, parameters.size, random)
                _write_image(folder / 'images' / f'{image}.png', picture)
                rows.append(_description(uid, image, patient, outcome, random))
                evidence.append(_evidence(split, image, outcome))
            descriptions += rows
            cases.append(_case(uid, patient, rows))
            if split == 'train':
                yield from (row['Description']['Caption'] for row in rows)
        _write_lines(folder / 'splitted_dataset' / f'descriptions_{split}.jsonl', descriptions)
        _write_lines(folder / 'splitted_dataset' / f'data_{split}.jsonl', cases)
    _write_lines(root / 'evidence' / 'medpix.jsonl', evidence)


def write_wound(root: Path, parameters: Parameters) -> Iterator[str]:
    """Write ``Wound-1-0/`` and ``evidence/wound.jsonl`` below a folder.

    Yields:
        The description of each training photo.
    """
    folder = root / WOUND
    (folder / 'images').mkdir(parents=True)
    draw, evidence, rows = Draw(wounds.outcomes()), [], {}
    for split, numbers in split_numbers(parameters.wounds).items():
        rows[split] = []
        for number in numbers:
            random = np.random.default_rng([parameters.seed, _WOUND_STREAM, number])
            outcome = draw(random)
            file = f'wound_{number:05d}.png'
            picture = wounds.draw_wound(outcome.image, parameters.size, random)
            _write_image(folder / 'images' / file, picture)
            text = wounds.write_description(outcome.text, random)
            rows[split].append(dict(file_path=file, **outcome.labels, description=text))
            evidence.append(_evidence(split, file, outcome))
        _write_table(folder / f'metadata_{split}.csv', rows[split])
        if split == 'train':
            yield from (row['description'] for row in rows[split])
    _write_table(folder / 'metadata.csv', [row for split in rows.values() for row in split])
    _write_lines(root / 'evidence' / 'wound.jsonl', evidence)


def read_evidence(root: str | Path, layout: str, split: str) -> dict[str, Outcome]:
    """Read what each image and its text show.

    Args:
        root: Folder of the data set.
        layout: ``'medpix'`` or ``'wound'``.
        split: ``'train'``, ``'dev'`` or ``'test'``.

    Returns:
        An outcome of probability 1 for each image's name.
    """
    found = {}
    for line in (Path(root) / 'evidence' / f'{layout}.jsonl').read_text().splitlines():
        row = json.loads(line)
        if row['split'] == split:
            image, text = (tuple(row[kind].items()) for kind in ('image_shows', 'text_says'))
            found[row['image']] = Outcome(1.0, row['labels'], row['source'], image, text)
    return found


def _description(
    uid: str, image: str, patient: scans.Patient, outcome: Outcome, random: np.random.Generator
) -> dict[str, Any]:
    """One line of ``descriptions_{split}.jsonl``; only its caption is not the label's own."""
    caption, plane = scans.write_caption(outcome.text, random)
    modality, location = outcome.labels['modality'], outcome.labels['location']
    return {
        'Type': modality,
        'U_id': uid,
        'image': image,
        'Description': {
            'ACR Codes': f'{scans.LOCATIONS.index(location) + 1}.-1',
            'Age': str(patient.age),
            'Caption': caption,
            'Figure Part': None,
            'Modality': {'CT': 'CT - noncontrast', 'MR': 'MR - T2 weighted'}[modality],
            'Plane': plane.capitalize(),
            'Sex': patient.sex,
        },
        'Location': scans.organ_near(location, random).capitalize(),
        'Location Category': location,
    }


def _case(uid: str, patient: scans.Patient, rows: list[dict]) -> dict[str, Any]:
    """One line of ``data_{split}.jsonl``."""
    location = rows[0]['Location Category']
    return {
        'U_id': uid,
        'TAC': [row['image'] for row in rows if row['Type'] == 'CT'],
        'MRI': [row['image'] for row in rows if row['Type'] == 'MR'],
        'Case': {
            'Title': f'Finding of the {rows[0]["Location"].lower()}',
            'History': f'{patient.age} year old {patient.sex} patient.',
            'Exam': None,
            'Findings': None,
            'Differential Diagnosis': None,
            'Case Diagnosis': None,
            'Diagnosis By': None,
            'Discussion': None,
            'Treatment & Follow Up': None,
            'Media': None,
        },
        'Topic': {
            'Title': None,
            'Disease Discussion': None,
            'ACR Code': rows[0]['Description']['ACR Codes'],
            'Category': location,
            'Keywords': None,
            'Reference': None,
            'External Links': None,
        },
    }


def _evidence(split: str, image: str, outcome: Outcome) -> dict[str, Any]:
    return dict(
        split=split,
        image=image,
        labels=outcome.labels,
        source=outcome.source,
        image_shows=outcome.image._asdict(),
        text_says=outcome.text._asdict(),
    )


def _write_image(path: Path, picture: np.ndarray) -> None:
    pixels = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    written, content = cv2.imencode('.png', pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not written:
        raise OSError(f'OpenCV could not encode {path} as PNG')
    path.write_bytes(content.tobytes())


def _write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows), encoding='utf-8')


def _write_table(path: Path, rows: list[dict]) -> None:
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, ['file_path', 'type', 'severity', 'description'])
        writer.writeheader()
        writer.writerows(rows)
