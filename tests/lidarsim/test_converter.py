"""mmdet3d's own converter, as installed, computes the same infos from the tables."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import mmdet3d
import numpy as np
import pytest

MIM = Path(mmdet3d.__file__).parent / '.mim'
CONVERT = """
from tools.dataset_converters.nuscenes_converter import create_nuscenes_infos
from tools.dataset_converters.update_infos_to_v2 import update_pkl_infos
create_nuscenes_infos('./data/nuscenes', 'nuscenes', version='v1.0-trainval', max_sweeps=2)
for split in ('train', 'val'):
    pkl = f'./data/nuscenes/nuscenes_infos_{split}.pkl'
    update_pkl_infos('nuscenes', out_dir='./converted', pkl_path=pkl)
"""


@pytest.mark.slow
@pytest.mark.skipif(not MIM.is_dir(), reason='mmdet3d was installed without its tools')
def test_converter_reproduces_our_infos(root, tmp_path):
    shutil.copytree(root, tmp_path / 'data' / 'nuscenes')
    (tmp_path / 'converted').mkdir()
    script = f'import sys; sys.path.insert(0, {str(MIM)!r})\n{CONVERT}'
    done = subprocess.run(
        [sys.executable, '-c', script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for split in ('train', 'val'):
        ours, theirs = (
            pickle.loads((folder / f'nuscenes_infos_{split}.pkl').read_bytes())
            for folder in (root, tmp_path / 'converted')
        )
        assert ours['metainfo'] == theirs['metainfo']
        assert len(ours['data_list']) == len(theirs['data_list'])
        for our, their in zip(ours['data_list'], theirs['data_list'], strict=True):
            _compare(our, their)


def _compare(ours, theirs, path=''):
    """Every entry of ours equals theirs, which may have more (cameras) and has no instances."""
    if isinstance(ours, dict):
        for key, value in ours.items():
            if key == 'instance_token':
                continue
            _compare(value, theirs[key], f'{path}.{key}')
    elif isinstance(ours, list) and ours and isinstance(ours[0], dict):
        assert len(ours) == len(theirs), path
        for our, their in zip(ours, theirs, strict=True):
            _compare(our, their, path)
    elif isinstance(ours, str):
        assert Path(ours).name == Path(theirs).name, path
    else:
        difference = np.asarray(ours, float) - np.asarray(theirs, float)
        if path.endswith('bbox_3d'):
            difference[6] = np.sin(difference[6])
        np.testing.assert_allclose(np.nan_to_num(difference), 0, atol=1e-3, err_msg=path)
