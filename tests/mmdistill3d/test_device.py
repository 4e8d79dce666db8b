"""On a device nothing of mmdistill3d or bevfusion mixes devices or makes the host wait unsaid."""

from pathlib import Path

from tests.fake_device import run_in_a_process


def test_the_cases():
    run_in_a_process(Path(__file__).with_name('device_cases.py'))
