"""What a complete data set is: the manifest `lidarsim.json`, written last."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

MANIFEST = 'lidarsim.json'
FORMAT = 1
"""Raise this when the same parameters give other scenes, points or boxes than before; what is
merely added to the info files leaves older data sets usable."""

LAYOUTS = ('nuscenes', 'kitti')
MAX_SCENES = 700
MAX_VAL_SCENES = 150


@dataclass(frozen=True)
class Parameters:
    """What determines a data set, byte for byte.

    Args:
        scenes: Training scenes, 1 to 700.
        val_scenes: Validation scenes, 1 to 150.
        frames: Keyframes a scene, at 2 Hz; at least 2.
        sweeps: Further sweeps before each keyframe.
        azimuths: Rays per beam and revolution.
        seed: Seed of everything.
        layout: ``'nuscenes'`` or ``'kitti'``, whose frames have no sweeps.

    Raises:
        ValueError: If a number is out of range, or the layout is none of these.
    """

    scenes: int = 50
    val_scenes: int = 12
    frames: int = 10
    sweeps: int = 2
    azimuths: int = 540
    seed: int = 0
    layout: str = 'nuscenes'

    def __post_init__(self) -> None:
        limits = {
            'scenes': (1, MAX_SCENES),
            'val_scenes': (1, MAX_VAL_SCENES),
            'frames': (2, 100),
            'sweeps': (0, 9),
            'azimuths': (90, 4000),
            'seed': (0, 2**32 - 1),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f'{name} is {value}, expected {low} to {high}')
        if self.layout not in LAYOUTS:
            raise ValueError(f'layout is {self.layout!r}, expected one of {LAYOUTS}')
        if self.layout == 'kitti' and self.sweeps:
            raise ValueError(
                f'sweeps is {self.sweeps}, but a frame of KITTI is one revolution: expected 0'
            )


SIZES = {
    'lidarsim': Parameters(),
    'lidarsim_large': Parameters(scenes=120, val_scenes=40),
    'lidarsim_kitti': Parameters(scenes=50, val_scenes=25, frames=6, sweeps=0, layout='kitti'),
    'lidarsim_kitti_quick': Parameters(scenes=3, val_scenes=1, frames=4, sweeps=0, layout='kitti'),
}
"""Data sets by the name of their folder: for demos, and for comparisons of recipes."""


def write_manifest(root: Path, parameters: Parameters) -> None:
    """Declare the data set in `root` complete."""
    files = data_files(root)
    content = {
        'format': FORMAT,
        'parameters': asdict(parameters),
        'files': len(files),
        'bytes': sum(path.stat().st_size for path in files),
        'digest': digest(root),
    }
    (root / MANIFEST).write_text(json.dumps(content, indent=2) + '\n')


def verify_dataset(path: str | Path, deep: bool = False) -> dict:
    """Check that a data set is there and complete.

    Args:
        path: Folder of the data set.
        deep: Also compare the digest of all files (reads them all).

    Returns:
        The manifest: `format`, `parameters`, `files`, `bytes`, `digest`.

    Raises:
        FileNotFoundError: If there is no complete data set in `path`.
        ValueError: If the data set was made by another version of the generator.
    """
    root = Path(path)
    command = f'run: python tools/create_lidarsim.py --out {path}'
    if not root.is_dir():
        raise FileNotFoundError(f'no lidarsim data set in {root}: the folder is missing; {command}')
    try:
        manifest = json.loads((root / MANIFEST).read_text())
        parts = [manifest[key] for key in ('format', 'parameters', 'files', 'bytes', 'digest')]
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise FileNotFoundError(
            f'the lidarsim data set in {root} is incomplete: {MANIFEST} is missing or cut '
            f'({type(error).__name__}); {command}'
        ) from error
    if parts[0] != FORMAT:
        raise ValueError(
            f'the lidarsim data set in {root} has format {parts[0]}, this version reads '
            f'{FORMAT}; {command} --force'
        )
    files = data_files(root)
    size = sum(file.stat().st_size for file in files)
    if (len(files), size) != (parts[2], parts[3]):
        raise FileNotFoundError(
            f'the lidarsim data set in {root} is incomplete: {len(files)} files of {size} bytes, '
            f'expected {parts[2]} files of {parts[3]} bytes; {command}'
        )
    if deep and digest(root) != parts[4]:
        raise FileNotFoundError(
            f'the lidarsim data set in {root} is damaged: a file was changed; {command} --force'
        )
    return manifest


def data_files(root: Path) -> list[Path]:
    """All files that the manifest vouches for, sorted."""
    folders = ('maps', 'samples', 'sweeps', 'v1.0-trainval', 'ImageSets', 'training', 'testing')
    files = [path for folder in folders for path in (root / folder).rglob('*') if path.is_file()]
    infos = [path for layout in LAYOUTS for path in root.glob(f'{layout}_infos_*.pkl')]
    return sorted([*files, *infos])


def digest(root: Path) -> str:
    """SHA-256 over names and contents of all data files."""
    total = hashlib.sha256()
    for path in data_files(root):
        total.update(str(path.relative_to(root)).encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
