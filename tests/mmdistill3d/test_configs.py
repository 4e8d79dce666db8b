"""Every config is complete by itself."""

import pytest

from tests.mmdistill3d.conftest import CONFIGS, load

NAMES = sorted(str(p.relative_to(CONFIGS)) for p in CONFIGS.glob('[a-z]*/*.py'))


@pytest.mark.parametrize('name', NAMES)
def test_a_config_imports_what_its_pipeline_and_checkpoints_need(name):
    imports = load(name).custom_imports['imports']
    assert 'bevfusion' in imports  # its pipeline's flip, and mostly its detector
    assert any(package.startswith('mmdistill') for package in imports)
