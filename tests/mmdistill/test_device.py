"""On a device nothing of the core mixes devices or makes the host wait."""

from pathlib import Path

from tests.fake_device import run_in_a_process


def test_the_cases():
    run_in_a_process(Path(__file__).with_name('device_cases.py'))
