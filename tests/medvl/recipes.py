"""The shipped small configs, shortened, on the tests' own data set."""

from mmengine.config import Config

RECIPES = ('vanilla', 'combined', 'crd', 'rkd', 'mmd')
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def write_configs(root, folder):
    """Write the small chain's configs into a folder: one epoch of 64 images, other data.

    Returns:
        dict: path of each by its recipe, and of 'teacher' and 'student'.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name in ('teacher', 'student', *RECIPES):
        cfg = Config.fromfile(f'configs/medvl/medsim_{name}.py')
        for loader in LOADERS:
            cfg[loader].dataset.data_root = str(root / 'MedPix-2-0')
            cfg[loader].dataset.indices = 64 if loader == 'train_dataloader' else 16
        plain = cfg.model.get('student', cfg.model)
        vocabulary = plain.data_preprocessor.tokenizer.rsplit('/', 1)[1]
        plain.data_preprocessor.tokenizer = str(root / 'tokenizers' / vocabulary)
        cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = 1
        cfg.log_level = 'WARNING'
        if 'teacher' in cfg.model:
            cfg.model.teacher.config = str(paths['teacher'])
        paths[name] = folder / f'medsim_{name}.py'
        cfg.dump(paths[name])
    return paths
