import pytest

from medsim import Parameters, generate_dataset


@pytest.fixture(scope='session')
def medsim_root(tmp_path_factory):
    """A data set of 1000 cases and 900 wounds, small images."""
    root = tmp_path_factory.mktemp('medsim') / 'data'
    generate_dataset(root, Parameters(cases=1000, wounds=900, size=48, seed=7))
    return root
