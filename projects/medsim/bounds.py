"""The best possible accuracies, as a table."""

from __future__ import annotations

from medsim import scans, wounds
from medsim.evidence import BOTH, IMAGE, TEXT, best_accuracy

LAYOUTS = {'medpix': scans.outcomes, 'wound': wounds.outcomes}


def bounds(layout: str) -> dict[str, dict[str, float]]:
    """Return the best possible accuracy of each task: from image and text, or one of them.

    Args:
        layout: ``'medpix'`` or ``'wound'``.

    Returns:
        Accuracies by ``'both'``, ``'image'`` and ``'text'``, by task.
    """
    outcomes = LAYOUTS[layout]()
    ways = dict(both=BOTH, image=IMAGE, text=TEXT)
    return {
        task: {name: best_accuracy(outcomes, task, sees) for name, sees in ways.items()}
        for task in outcomes[0].labels
    }


def bounds_table() -> str:
    """Return the bounds of both layouts in Markdown."""
    lines = ['| layout | task | image and text | image | text |', '|---|---|---:|---:|---:|']
    for layout in LAYOUTS:
        for task, best in bounds(layout).items():
            numbers = ' | '.join(f'{value:.3f}' for value in best.values())
            lines.append(f'| {layout} | {task} | {numbers} |')
    return '\n'.join(lines)
