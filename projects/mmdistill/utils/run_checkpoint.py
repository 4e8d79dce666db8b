"""Checkpoints named by what they are to their run: the best, or the last."""

from __future__ import annotations

import re
from pathlib import Path

_NAMED = re.compile(r'best(_\w+)?|last')


def resolve_checkpoint(path: str | Path) -> str:
    """Return the file that a checkpoint's name stands for.

    ``save_best`` writes names such as ``best_top1_epoch_7.pth``, which nobody knows when a config
    is written. So these stand for files of a run:

    ===================  ===========================================================
    name                 file
    ===================  ===========================================================
    ``RUN/best``         ``RUN/best_*.pth``, if there is one best
    ``RUN/best_top1``    ``RUN/best_top1_*.pth``, where several metrics have a best
    ``RUN/last``         the one that ``RUN/last_checkpoint`` names
    ===================  ===========================================================

    Where the run was a distillation, it is the plain student beside that file. A file of that very
    name, any other path and URLs are returned as they are.

    Config lines::

        teacher=dict(config='configs/teacher.py', checkpoint='work_dirs/teacher/best')

    Args:
        path: Path or URL of a checkpoint, or one of the names above.

    Raises:
        FileNotFoundError: The run has no such checkpoint; the message lists those it has.
        ValueError: It has several.
    """
    path = str(path)
    if '://' in path or not _NAMED.fullmatch(Path(path).name) or Path(path).is_file():
        return path
    run, name = Path(path).parent, Path(path).name
    found = _last(run) if name == 'last' else _best(run, name)
    if not found:
        raise FileNotFoundError(_nothing(run, name))
    if len(found) > 1:
        files = ', '.join(file.name for file in found)
        raise ValueError(
            f'{path} may be any of {files}: name its metric ({run}/best_METRIC), or the file'
        )
    student = found[0].with_name(f'{found[0].stem}_student.pth')
    return str(student if student.is_file() else found[0])


def _best(run: Path, name: str) -> list[Path]:
    files = sorted(run.glob(f'{name}_*.pth'))
    return [file for file in files if not file.stem.endswith('_student')]


def _last(run: Path) -> list[Path]:
    pointer = run / 'last_checkpoint'
    if not pointer.is_file():
        return []
    named = Path(pointer.read_text().strip())
    # MMEngine writes the path as it was then; a run's folder may have been moved since.
    places = [place for place in (run / named.name, named) if place.is_file()]
    return places[:1]


def _nothing(run: Path, name: str) -> str:
    if not run.is_dir():
        return f'no checkpoint at {run / name}: there is no folder {run} (seen from {Path.cwd()})'
    there = ', '.join(sorted(file.name for file in run.glob('*.pth'))) or 'no *.pth'
    cure = (
        'train it to the end of an epoch'
        if name == 'last'
        else "train it with default_hooks.checkpoint.save_best='METRIC'"
    )
    return f'no checkpoint at {run / name}: {run} has {there}; {cure}, or name one of its files'
