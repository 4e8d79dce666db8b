"""Which clips a data set has, and how UCF101 and Kinetics name and list them."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from videosim.actions import ACTIONS

FPS = 16
LAYOUTS = ('ucf101', 'kinetics')
SPLITS = ('train', 'val', 'test')


@dataclass(frozen=True)
class Parameters:
    """What determines a data set, byte for byte.

    A group is one figure before one background, as UCF101's groups are one person each; a group's
    clips are in one split only. The layouts share no group.

    Args:
        layout: ``'ucf101'`` or ``'kinetics'``.
        train_groups: Groups a class in the training split, 1 to 999.
        val_groups: The same for validation.
        test_groups: The same for the test.
        clips: Clips a group.
        frames: Frames a clip, at 16 a second; at least 8.
        size: Height and width in pixels; at least 32.
        trimmed: The action fills the clip, else it takes 30 to 45 % of it.
        seed: Seed of everything.

    Raises:
        ValueError: If a value is out of range.
    """

    layout: str = 'ucf101'
    train_groups: int = 48
    val_groups: int = 6
    test_groups: int = 21
    clips: int = 2
    frames: int = 32
    size: int = 64
    trimmed: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f'layout is one of {LAYOUTS}, not {self.layout!r}')
        limits = {
            'train_groups': (1, 999),
            'val_groups': (1, 999),
            'test_groups': (1, 999),
            'clips': (1, 99),
            'frames': (8, 1000),
            'size': (32, 1024),
            'seed': (0, 2**32 - 1),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f'{name} is {value}, expected {low} to {high}')


@dataclass(frozen=True)
class Item:
    """One clip of a data set.

    Args:
        path: Of its file, relative to the data set's folder.
        action: Its class.
        split: ``'train'``, ``'val'`` or ``'test'``.
        group: Seed of its group's look.
        number: Of the clip within the group.
    """

    path: Path
    action: str
    split: str
    group: tuple[int, ...]
    number: int


def list_items(parameters: Parameters) -> list[Item]:
    """All clips of a data set, in the order of its lists."""
    return [item for split in SPLITS for item in _items(parameters, split)]


def write_lists(root: Path, parameters: Parameters) -> None:
    """Write the class and split lists that the real data sets come with."""
    if parameters.layout == 'ucf101':
        _write_ucf101_lists(root, parameters)
    else:
        _write_kinetics_lists(root, parameters)


def _items(parameters: Parameters, split: str) -> Iterator[Item]:
    groups = {name: getattr(parameters, f'{name}_groups') for name in SPLITS}
    # Test groups come first, as in UCF101's first split.
    first = {'test': 1, 'val': 1 + groups['test'], 'train': 1 + groups['test'] + groups['val']}
    for label, action in enumerate(ACTIONS):
        for group in range(first[split], first[split] + groups[split]):
            seed = (parameters.seed, LAYOUTS.index(parameters.layout), group)
            for number in range(1, parameters.clips + 1):
                if parameters.layout == 'ucf101':
                    name = f'v_{action}_g{group:02d}_c{number:02d}.mp4'
                    path = Path('UCF-101') / action / name
                else:
                    name = _kinetics_name(parameters, split, label, group, number)
                    path = Path('videos') / split / action / name
                yield Item(path, action, split, seed, number)


def _write_ucf101_lists(root: Path, parameters: Parameters) -> None:
    """``classInd.txt``, ``trainlist01.txt`` with labels from 1, the others without.

    UCF101 itself has no ``vallist01.txt``.
    """
    folder = root / 'ucfTrainTestlist'
    folder.mkdir()
    numbers = {action: number for number, action in enumerate(ACTIONS, 1)}
    lines = [f'{number} {action}' for action, number in numbers.items()]
    (folder / 'classInd.txt').write_text('\n'.join(lines) + '\n')
    for split in SPLITS:
        lines = [
            f'{item.action}/{item.path.name}'
            + (f' {numbers[item.action]}' if split == 'train' else '')
            for item in _items(parameters, split)
        ]
        (folder / f'{split}list01.txt').write_text('\n'.join(lines) + '\n')


def _write_kinetics_lists(root: Path, parameters: Parameters) -> None:
    """``train.csv``, ``val.csv`` and ``test.csv`` as Kinetics has them."""
    for split in SPLITS:
        with (root / f'{split}.csv').open('w', newline='') as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(['label', 'youtube_id', 'time_start', 'time_end', 'split'])
            for item in _items(parameters, split):
                video, start, end = item.path.stem.rsplit('_', 2)
                writer.writerow([item.action, video, int(start), int(end), split])


def _kinetics_name(parameters: Parameters, split: str, label: int, group: int, number: int) -> str:
    """``<11 characters>_<start>_<end>.mp4``, seconds with six digits."""
    video = f'{split[:2]}{label:02d}-{group:03d}_{number:02d}'
    return f'{video}_{0:06d}_{math.ceil(parameters.frames / FPS):06d}.mp4'
