"""MMEngine's checkpoints under torch's safe loader."""

import pickle

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler import OneCycleLR

from mmdistill.utils.checkpoint import load_weights


def test_message_hubs_and_one_cycle_schedulers_are_read_back(tmp_path):
    buffer = HistoryBuffer()
    buffer.update(1.5)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    scheduler = OneCycleLR(optimizer, eta_max=1.0, total_steps=9, by_epoch=False)
    torch.save(dict(hub=buffer, scheduler=scheduler.state_dict()), tmp_path / 'x.pth')
    content = torch.load(tmp_path / 'x.pth')
    assert content['hub'].mean() == 1.5
    assert content['scheduler'] == scheduler.state_dict()


def test_a_checkpoint_cannot_reach_other_attributes(tmp_path):
    class Reach:
        def __reduce__(self):
            return getattr, (HistoryBuffer, '__init__')

    torch.save(dict(state_dict={}, x=Reach()), tmp_path / 'x.pth')
    with pytest.raises(pickle.UnpicklingError, match='not allowed'):
        torch.load(tmp_path / 'x.pth')


def test_bare_state_dicts_are_read_and_other_content_is_refused(tmp_path):
    torch.save({'a': torch.ones(2)}, tmp_path / 'bare.pth')
    assert torch.equal(load_weights(tmp_path / 'bare.pth')['state_dict']['a'], torch.ones(2))
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='holds a list'):
        load_weights(tmp_path / 'list.pth')
