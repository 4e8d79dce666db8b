"""Families of MMDetection3D distil by config: a model and its copy agree, and a step trains."""

import pytest

from mmdistill3d.analysis.families import CONFIGS, FAMILIES
from mmdistill3d.analysis.family_check import EQUAL, check_family, run_distillation

FAST = ('PointPillars', 'SECOND', 'CenterPoint, pillars', 'VoteNet', 'GroupFree3D', 'DGCNN')
NAMED = {family.name: family for family in FAMILIES}

pytestmark = pytest.mark.skipif(
    not CONFIGS.is_dir(), reason='MMDetection3D was installed without its configs'
)


@pytest.mark.parametrize('name', FAST)
def test_a_family_distils(name):
    """Also of a model that writes into its input (PointPillars) or its answer (FCOS3D)."""
    values = run_distillation(NAMED[name], help_it=True)
    assert all(abs(value) <= EQUAL for value in values.values())
    assert set(values) == {'features', 'response'}


def test_a_row_says_why_a_family_does_not_run_here():
    row = check_family(NAMED['FCAF3D'])
    assert 'MinkowskiEngine' in row.plain
    assert row.cells()[1].startswith('no: ')


def test_every_config_of_the_table_is_there():
    for family in FAMILIES:
        assert (CONFIGS / family.config).is_file(), family.name
