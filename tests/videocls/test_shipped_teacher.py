"""The small video teacher that comes with the repository: the file, its note, what it knows."""

import hashlib
import json

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmdistill.teacher import load_strictly
from mmdistill.utils.checkpoint import load_weights
from tests.videocls.test_stock_ways import CONFIGS
from videosim import Parameters, generate_dataset

WEIGHTS = CONFIGS / 'clip_teacher_mini.pth'


def test_the_file_is_small_and_the_one_that_its_note_describes():
    note = json.loads(WEIGHTS.with_suffix('.json').read_text())
    content = WEIGHTS.read_bytes()
    assert len(content) <= 4e6 and len(content) == note['bytes']
    assert hashlib.sha256(content).hexdigest() == note['sha256']
    assert note['metrics']['top1'] >= 0.93 and note['metrics']['top1_order'] > 0.9


@pytest.fixture
def clips(tmp_path):
    """48 test clips of figures that no training has seen: another seed's."""
    parameters = dict(train_groups=1, val_groups=1, test_groups=2, clips=2, seed=7)
    generate_dataset(tmp_path / 'clips', Parameters(**parameters))
    return tmp_path / 'clips'


def test_it_recognises_clips_of_another_seed(clips, tmp_path):
    cfg = Config.fromfile(CONFIGS / 'clip_teacher_mini.py')
    for loader in ('train', 'val', 'test'):
        cfg[f'{loader}_dataloader'].dataset.data_root = str(clips)
    cfg.update(work_dir=str(tmp_path), load_from=None, experiment_name=f'shipped_{tmp_path.name}')
    runner = Runner.from_cfg(cfg)
    load_strictly(runner.model, load_weights(str(WEIGHTS))['state_dict'], 'shipped teacher')
    assert runner.test()['top1'] > 0.8
