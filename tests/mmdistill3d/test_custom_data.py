"""The page on one's own data, word for word: its script and configs make, train and test."""

import re
import runpy

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

CLASSES = {'forklift': (2.4, 1.2, 2.1), 'pallet': (1.2, 0.8, 0.9), 'worker': (0.6, 0.6, 1.7)}


@pytest.fixture
def mine(repository, tmp_path, monkeypatch):
    """A folder like the repository's, with the page's files and some recordings."""
    (tmp_path / 'configs').mkdir()
    for folder in ('_base_', 'pointpillars'):
        (tmp_path / 'configs' / folder).symlink_to(repository / 'configs' / folder)
    page = (repository / 'projects' / 'mmdistill3d' / 'CUSTOM_DATA.md').read_text()
    for name, code in re.findall(r'```python\n# (\S+\.py)\n(.*?)```', page, flags=re.DOTALL):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    record(tmp_path / 'data' / 'mine')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record(root):
    """Frames with an object of each class on a floor; labels as the page describes them."""
    rng = np.random.default_rng(0)
    for folder in ('clouds', 'labels'):
        (root / folder).mkdir(parents=True)
    for split, count in (('train', 4), ('val', 2)):
        names = [f'{split}_{number}' for number in range(count)]
        (root / f'{split}.txt').write_text('\n'.join(names))
        for name in names:
            clouds = [np.column_stack([rng.uniform(-12, 12, (1500, 2)), np.zeros(1500)])]
            lines = []
            for label, size in CLASSES.items():
                centre = [*rng.uniform(-10, 10, 2), size[2] / 2]
                clouds.append(centre + rng.uniform(-0.5, 0.5, (200, 3)) * size)
                lines.append(' '.join(map(str, [label, *centre, *size, 0.0])))
            points = np.concatenate(clouds)
            points = np.column_stack([points, rng.uniform(0, 1, len(points))])
            points.astype(np.float32).tofile(root / 'clouds' / f'{name}.bin')
            (root / 'labels' / f'{name}.txt').write_text('\n'.join(lines))


def build(name, **options):
    cfg = Config.fromfile(f'configs/mine/{name}.py')
    cfg.merge_from_dict(
        {
            'work_dir': f'work_dirs/{name}',
            'train_cfg.max_epochs': 1,
            'train_cfg.val_interval': 1,
            'param_scheduler.0.total_steps': 1,
            'log_level': 'WARNING',
            **options,
        }
    )
    cfg.experiment_name = f'{name}_{len(options)}'
    return Runner.from_cfg(cfg)


def metrics(runner):
    return {
        key: value.current()
        for key, value in runner.message_hub.log_scalars.items()
        if 'mAP' in key
    }


def test_the_pages_files_train_a_teacher_and_a_distilled_student(mine):
    runpy.run_path('data/mine/make_infos.py', run_name='__main__')
    build('teacher').train()
    distilled = build('distilled')
    # "distilled" reads the pair off the page's configs: 3 classes, a range of its own, yx maps.
    distilled.train()
    found = metrics(distilled)
    assert set(found) == {'val/mAP_0.25', 'val/mAP_0.50'}
    log = distilled.message_hub.log_scalars
    assert all(log[f'train/distill/{name}'].current() > 0 for name in distilled.model.links)
    alone = build('student', load_from='work_dirs/distilled/epoch_1_student.pth')
    tested = alone.test()
    assert {f'val/{key}': value for key, value in tested.items() if 'mAP' in key} == found
    assert alone.test_dataloader.dataset.metainfo['classes'] == list(CLASSES)


def test_classes_are_told_by_name(mine):
    runpy.run_path('data/mine/make_infos.py', run_name='__main__')
    two = build('student', **{'train_dataloader.dataset.metainfo.classes': ['worker', 'pallet']})
    dataset = two.build_dataloader(two._train_dataloader).dataset
    heights = dataset.get_data_info(0)['ann_info']['gt_bboxes_3d'].tensor[:, 5].tolist()
    labels = dataset.get_data_info(0)['ann_info']['gt_labels_3d'].tolist()
    assert dict(zip(labels, heights, strict=True)) == pytest.approx({0: 1.7, 1: 0.9})
    with pytest.raises(ValueError, match="categories .*'forklift': 0.* asks for .*'crane'"):
        wrong = build('student', **{'train_dataloader.dataset.metainfo.classes': ['crane']})
        wrong.build_dataloader(wrong._train_dataloader)
