"""Options of commands change a config, or say what it lacks."""

import pytest
import torch
from mmengine.config import Config

from mmdistill.apis import as_arguments, load_config, set_test_options, set_train_options


@pytest.fixture
def cfg(tmp_path):
    (tmp_path / 'net.py').write_text(
        "model = dict(type='Net')\n"
        "optim_wrapper = dict(type='OptimWrapper')\n"
        'test_dataloader = dict(dataset=dict(pipeline=[]))\n'
    )
    return Config.fromfile(tmp_path / 'net.py')


def test_resume_names_a_file_or_the_latest_one(cfg, tmp_path):
    cfg.work_dir, cfg.load_from = str(tmp_path), 'trained.pth'
    set_train_options(cfg, resume='auto')  # nothing to go on from: begin as the config says
    assert (cfg.resume, cfg.load_from) == (False, 'trained.pth')
    (tmp_path / 'last_checkpoint').write_text('epoch_1.pth')
    set_train_options(cfg, resume='auto')
    assert (cfg.resume, cfg.load_from) == (True, None)
    set_train_options(cfg, resume='run/epoch_3.pth')
    assert (cfg.resume, cfg.load_from) == (True, 'run/epoch_3.pth')


def test_a_learning_rate_is_scaled_where_the_config_says_from_what(cfg):
    with pytest.raises(ValueError, match=r'base_batch_size=\.\.\.\) in .*net\.py'):
        set_train_options(cfg, auto_scale_lr=True)
    cfg.auto_scale_lr = dict(enable=False, base_batch_size=32)
    set_train_options(cfg, auto_scale_lr=True, sync_bn='torch')
    assert cfg.auto_scale_lr.enable
    assert cfg.sync_bn == 'torch'


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_mixed_precision_without_a_gpu_is_an_error(cfg):
    with pytest.raises(ValueError, match='--amp needs a GPU'):
        set_train_options(cfg, amp=True)


def test_test_time_augmentation_wraps_the_model_where_the_config_has_it(cfg):
    with pytest.raises(ValueError, match=r'tta_model and tta_pipeline in .*net\.py'):
        set_test_options(cfg, 'x.pth', tta=True)
    cfg.tta_model, cfg.tta_pipeline = dict(type='TTA'), [dict(type='Load')]
    set_test_options(cfg, 'x.pth', tta=True)
    assert cfg.model == dict(type='TTA', module=dict(type='Net'))
    assert cfg.test_dataloader.dataset.pipeline == [dict(type='Load')]
    assert cfg.load_from == 'x.pth'


def test_entries_are_laid_over_a_file(tmp_path):
    (tmp_path / 'net.py').write_text('a = dict(b=1, c=2)\n')
    cfg = load_config(str(tmp_path / 'net.py'), {'a.b': 3})
    assert cfg.a == dict(b=3, c=2)
    with pytest.raises(FileNotFoundError, match='absent.py'):
        load_config(str(tmp_path / 'absent.py'))


def test_entries_become_arguments():
    assert as_arguments({'a.b': 1, 'c': 'd'}) == ['--cfg-options', 'a.b=1', 'c=d']
