"""The demo's table: what was measured, by whom, on what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmdistill.analysis.results import read_accuracy
from mmdistill.analysis.tables import describe_run

_HEADER = (
    '| | Params | GMACs (dense + sparse) | ms / frame | mAP | NDS | Training |\n'
    '|---|---:|---:|---:|---:|---:|---:|\n'
)


@dataclass(frozen=True)
class Row:
    """One trained model of the table.

    Args:
        label (str): what the row is called.
        network (str): config of the plain detector, as named in ``compare.json``.
        test_dir (Path): work dir of its evaluation.
        training_s (float, optional): wall time of its training, in seconds; None for a model
            that was not trained here.
    """

    label: str
    network: str
    test_dir: Path
    training_s: float | None


def write_table(rows: Sequence[Row], folder: Path, seed: int, quick: bool) -> str:
    """Write ``table.md`` and ``table.json`` into a folder.

    Args:
        rows (Sequence[Row]): the rows, in their order.
        folder (Path): holds ``compare.json``, and gets the two files.
        seed (int): seed of the training runs.
        quick (bool): whether this was the short run, whose accuracies mean nothing.

    Returns:
        str: the table and its origin, in Markdown.

    Raises:
        FileNotFoundError: an evaluation left no metrics.
    """
    compared = json.loads((folder / 'compare.json').read_text())
    content = {
        **describe_run(),
        'seed': seed,
        'quick': quick,
        'rows': [
            {
                'name': row.label,
                'training_s': row.training_s,
                **compared[row.network],
                **read_accuracy(row.test_dir),
            }
            for row in rows
        ],
    }
    (folder / 'table.json').write_text(json.dumps(content, indent=2) + '\n')
    markdown = as_markdown(content)
    (folder / 'table.md').write_text(markdown)
    return markdown


def as_markdown(content: dict[str, Any]) -> str:
    """Format what ``write_table`` has gathered."""
    lines = [_HEADER.rstrip('\n')]
    for row in content['rows']:
        seconds = row['training_s']
        training = 'shipped' if seconds is None else f'{seconds / 60:.1f} min'
        dense, sparse = row['dense_macs'] / 1e9, row['sparse_macs'] / 1e9
        lines.append(
            f'| {row["name"]} | {row["params"] / 1e6:.3f} M '
            f'| {dense + sparse:.2f} ({dense:.2f} + {sparse:.2f}) | {row["ms_per_frame"]:.0f} '
            f'| {row["mAP"]:.3f} | {row["NDS"]:.3f} | {training} |'
        )
    quick = (
        ' A quick run: it proves the chain, its accuracies mean nothing.'
        if content['quick']
        else ''
    )
    lines += [
        '',
        f'Measured by `make demo` at commit {content["commit"]}, seed {content["seed"]}, '
        f'on {content["date"]}: {content["machine"]}, torch {content["torch"]}. '
        f'Time per frame is the median of `test_step` (voxelisation, network, decoding) on '
        f'{content["device"]}, the models taking turns on the same frames.{quick}',
        '',
    ]
    return '\n'.join(lines)
