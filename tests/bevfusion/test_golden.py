"""The published implementation's recorded outputs are reproduced."""

import importlib.util
import json
import sys

import pytest


@pytest.fixture(scope='module')
def compare(shared):
    path = shared / 'golden/compare.py'
    if not path.is_file():
        pytest.skip(f'no {path}')
    spec = importlib.util.spec_from_file_location('golden_compare', path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('case', ['eval', 'eval_b2', 'evalbn', 'train', 'train_b2'])
def test_reduced_network_matches(compare, build, case):
    model = build(compare.config('reduced').model)
    assert compare.run('reduced', model, cases=(case,)).ok


def test_voxels_targets_losses_and_decoding_match(compare, build):
    model = build(compare.config('unit').model)
    assert compare.run('unit', model).ok


def test_published_config_gives_the_published_keys(compare, build, shared):
    model = build(compare.config('stock').model)
    ours = sorted([key, list(value.shape)] for key, value in model.state_dict().items())
    published = json.loads((shared / 'golden/stock/keys.json').read_text())
    assert ours == sorted([key, shape] for key, shape, _ in published)
