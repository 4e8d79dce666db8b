"""Objects are pasted in the epochs that should have them, also after resuming and in workers."""

import pickle
from types import SimpleNamespace

import pytest
from mmdet3d.datasets.transforms import ObjectSample
from mmdet3d.registry import HOOKS
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader


class Frames(BaseDataset):
    """Each item says whether objects would be pasted into it."""

    def load_data_list(self):
        return [{'frame': number} for number in range(2)]

    def __getitem__(self, index):
        return not self.pipeline.transforms[0].disabled


@pytest.fixture(autouse=True)
def scope():
    """Another test's scope may be left behind."""
    init_default_scope('mmdet3d')


@pytest.fixture
def frames(tmp_path):
    infos = tmp_path / 'dbinfos.pkl'
    infos.write_bytes(pickle.dumps({'car': []}))
    sampler = dict(
        type='BEVFusionDataBaseSampler',
        data_root=str(tmp_path),
        info_path=str(infos),
        rate=1.0,
        prepare={},
        sample_groups=dict(car=2),
        classes=['car'],
        points_loader=dict(type='LoadPointsFromFile', coord_type='LIDAR', load_dim=5),
    )
    return lambda: Frames(pipeline=[ObjectSample(sampler)])


@pytest.fixture
def pasted():
    """`pasted(loader, epochs)` -> in each epoch, whether objects are pasted into every frame."""

    def run(loader, epochs, after_epoch=15):
        hook = HOOKS.build(dict(type='FadeObjectSampleHook', after_epoch=after_epoch))
        runner = SimpleNamespace(
            train_dataloader=loader, logger=MMLogger.get_instance('fade'), epoch=0
        )
        found = []
        for runner.epoch in epochs:
            hook.before_train_epoch(runner)
            values = {bool(value) for batch in loader for value in batch}
            assert len(values) == 1
            found.append(values.pop())
        return found

    return run


@pytest.mark.parametrize('persistent', [False, True])
def test_no_objects_after_the_last_epoch_that_pastes(frames, pasted, persistent):
    workers = dict(num_workers=1, persistent_workers=True) if persistent else {}
    loader = DataLoader(frames(), batch_size=2, **workers)
    assert pasted(loader, range(13, 18)) == [True, True, False, False, False]


def test_a_run_resumed_later_pastes_none(frames, pasted):
    assert pasted(DataLoader(frames()), [17, 18]) == [False, False]


@pytest.mark.parametrize('wrapper', ['repeated', 'joined'])
def test_wrapped_data_sets_are_reached(frames, pasted, wrapper):
    if wrapper == 'repeated':
        data = RepeatDataset(frames(), times=2)
    else:
        data = ConcatDataset([frames(), frames()])
    assert pasted(DataLoader(data), [0, 1, 2], after_epoch=1) == [True, False, False]


def test_a_negative_number_of_epochs_is_refused():
    with pytest.raises(ValueError, match='after_epoch is -1'):
        HOOKS.build(dict(type='FadeObjectSampleHook', after_epoch=-1))
