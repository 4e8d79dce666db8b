"""A data set is complete, reproducible and never overwritten by mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lidarsim import Parameters, generate_dataset, verify_dataset

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'create_lidarsim.py'
TINY = Parameters(scenes=2, val_scenes=1, frames=2, sweeps=1, azimuths=180, seed=3)


@pytest.fixture
def tiny(tmp_path):
    generate_dataset(tmp_path / 'data', TINY)
    return tmp_path / 'data'


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob('*') if path.is_file()
    }


def test_same_seed_gives_same_bytes_for_any_number_of_processes(tiny, tmp_path):
    assert generate_dataset(tmp_path / 'again', TINY, workers=2)
    assert contents(tmp_path / 'again') == contents(tiny)


def test_other_seed_gives_another_world(tiny, tmp_path):
    other = Parameters(scenes=2, val_scenes=1, frames=2, sweeps=1, azimuths=180, seed=4)
    generate_dataset(tmp_path / 'other', other)
    first, second = (
        json.loads((path / 'v1.0-trainval' / 'sample_annotation.json').read_text())
        for path in (tiny, tmp_path / 'other')
    )
    assert not {row['token'] for row in first} & {row['token'] for row in second}
    assert [row['size'] for row in first[:5]] != [row['size'] for row in second[:5]]


def test_complete_data_set_is_left_alone(tiny):
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob('*')}
    assert not generate_dataset(tiny, TINY)
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob('*')} == before


def test_other_parameters_are_an_error_that_names_them(tiny):
    other = Parameters(scenes=2, val_scenes=1, frames=3, sweeps=1, azimuths=180, seed=3)
    with pytest.raises(ValueError, match=r'frames is 2, asked for 3.*--force'):
        generate_dataset(tiny, other)
    assert generate_dataset(tiny, other, force=True)
    assert verify_dataset(tiny)['parameters']['frames'] == 3


@pytest.mark.parametrize(
    'damage',
    [
        lambda root: (root / 'lidarsim.json').unlink(),
        lambda root: (root / 'lidarsim.json').write_text('{"format": 1, "par'),
        lambda root: next((root / 'sweeps' / 'LIDAR_TOP').iterdir()).unlink(),
        lambda root: os.truncate(next((root / 'samples' / 'LIDAR_TOP').iterdir()), 1000),
        lambda root: (root / 'nuscenes_infos_val.pkl').unlink(),
    ],
    ids=['no manifest', 'cut manifest', 'missing sweep', 'cut keyframe', 'no infos'],
)
def test_half_written_data_set_is_noticed_and_regenerated(tiny, damage):
    before = contents(tiny)
    damage(tiny)
    with pytest.raises(FileNotFoundError, match=r'incomplete.*create_lidarsim'):
        verify_dataset(tiny)
    assert generate_dataset(tiny, TINY)
    assert contents(tiny) == before


def test_changed_file_of_the_same_size_is_noticed_by_the_deep_check(tiny):
    file = next((tiny / 'samples' / 'LIDAR_TOP').iterdir())
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)
    verify_dataset(tiny)
    with pytest.raises(FileNotFoundError, match='damaged'):
        verify_dataset(tiny, deep=True)


def test_missing_data_set_is_an_error_with_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'python tools/create_lidarsim.py --out .*nowhere'):
        verify_dataset(tmp_path / 'nowhere')


def test_data_set_of_another_format_is_an_error(tiny):
    manifest = json.loads((tiny / 'lidarsim.json').read_text())
    (tiny / 'lidarsim.json').write_text(json.dumps({**manifest, 'format': 0}))
    with pytest.raises(ValueError, match='format 0'):
        verify_dataset(tiny)


@pytest.mark.parametrize('name', ['notes.txt', 'samples/LIDAR_TOP/n015__LIDAR_TOP__1.pcd.bin'])
def test_foreign_folder_is_never_replaced(tmp_path, name):
    file = tmp_path / 'data' / name
    file.parent.mkdir(parents=True)
    file.write_text('mine')
    with pytest.raises(FileExistsError, match='not a lidarsim data set'):
        generate_dataset(tmp_path / 'data', TINY, force=True)
    assert file.read_text() == 'mine'


@pytest.mark.parametrize('wrong', [{'scenes': 0}, {'val_scenes': 151}, {'frames': 1}])
def test_parameters_out_of_range_are_an_error(wrong):
    with pytest.raises(ValueError, match=rf'{next(iter(wrong))} is .*, expected'):
        Parameters(**wrong)


def test_killed_generator_leaves_nothing_that_looks_like_a_data_set(tmp_path):
    out = tmp_path / 'data'
    command = [sys.executable, TOOL, '--out', out, '--scenes', '300', '--workers', '2']
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        while not list(tmp_path.glob('.*/**/*.pcd.bin')):
            assert process.poll() is None, 'the generator ended before it wrote a point file'
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not out.exists()
    with pytest.raises(FileNotFoundError):
        verify_dataset(out)

    assert generate_dataset(out, TINY)
    verify_dataset(out, deep=True)
    assert [path.name for path in tmp_path.iterdir()] == ['data']
