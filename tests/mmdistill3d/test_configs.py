"""Every config is complete by itself."""

import pytest
from mmengine.registry import HOOKS, MODELS

from mmdistill import read_student_config
from tests.mmdistill3d.conftest import CONFIGS, load

FOLDERS = ('bevfusion', 'centerpoint', 'pointpillars', 'second', 'distill')
NAMES = sorted(str(p.relative_to(CONFIGS)) for f in FOLDERS for p in (CONFIGS / f).glob('*.py'))


@pytest.mark.parametrize('name', NAMES)
def test_a_config_imports_what_its_pipeline_and_checkpoints_need(name):
    imports = load(name).custom_imports['imports']
    assert 'bevfusion' in imports  # its pipeline's flip, and mostly its detector
    assert any(package.startswith('mmdistill') for package in imports)


@pytest.mark.parametrize('name', NAMES)
def test_a_config_builds_its_detector_and_its_hooks(name):
    """Distilled or plain; whole distillers are built where their recipes are tested."""
    cfg = load(name)
    student = cfg.model.get('student')
    model = cfg.model if student is None else read_student_config(student).model
    assert MODELS.build(model) is not None
    for hook in cfg.get('custom_hooks', []):
        assert HOOKS.build(hook) is not None
