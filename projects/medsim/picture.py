"""A picture of examples with their texts and labels."""

from __future__ import annotations

import csv
import json
import textwrap
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2

from medsim.layouts import MEDPIX, WOUND


def draw_examples(root: str | Path, path: str | Path, columns: int = 6) -> None:
    """Draw the first training images of both layouts, two rows of each.

    Args:
        root: Folder of the data set.
        path: PNG file to write.
        columns: Images in a row.
    """
    from matplotlib.figure import Figure

    count = 2 * columns
    examples = [*islice(_scans(Path(root)), count), *islice(_wounds(Path(root)), count)]
    figure = Figure(figsize=(1.9 * columns, 10.5), layout='constrained')
    for axis, (image, labels, text) in zip(figure.subplots(4, columns).flat, examples, strict=True):
        axis.imshow(cv2.cvtColor(cv2.imread(str(image)), cv2.COLOR_BGR2RGB))
        axis.set_title(textwrap.fill(labels, 26), fontsize=7)
        axis.set_xlabel(textwrap.fill(text, 34), fontsize=6.5)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.savefig(path, dpi=64)


def _scans(root: Path) -> Iterator[tuple[Path, str, str]]:
    folder = root / MEDPIX
    for line in (folder / 'splitted_dataset' / 'descriptions_train.jsonl').open(encoding='utf-8'):
        row = json.loads(line)
        labels = f'{row["Type"]}, {row["Location Category"]}'
        yield folder / 'images' / f'{row["image"]}.png', labels, row['Description']['Caption']


def _wounds(root: Path) -> Iterator[tuple[Path, str, str]]:
    folder = root / WOUND
    with (folder / 'metadata_train.csv').open(newline='', encoding='utf-8') as file:
        for row in csv.DictReader(file):
            labels = f'{row["type"]}, {row["severity"]}'
            yield folder / 'images' / row['file_path'], labels, row['description']
