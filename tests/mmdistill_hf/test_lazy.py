"""Without transformers everything imports, and what needs it says how to get it."""

import os
import subprocess
import sys
from pathlib import Path

PROJECTS = Path(__file__).resolve().parents[2] / 'projects'

WITHOUT = """
import sys
sys.modules['transformers'] = None          # as if it were not installed
for name in {packages}:
    __import__(name)
from mmengine.registry import MODELS
try:
    MODELS.build(dict(type='HFVisionEncoder', config=dict(model_type='vit')))
except ImportError as error:
    print(error)
"""


def test_packages_import_without_the_library_and_encoders_name_the_command():
    result = run(WITHOUT.format(packages=['mmdistill', 'mmdistill_hf']))
    assert result.returncode == 0, result.stderr
    assert 'pip install transformers==5.24.0' in result.stdout


def run(code):
    environment = {**os.environ, 'PYTHONPATH': str(PROJECTS)}
    return subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=120, env=environment
    )
