"""The configs run under the train.py and test.py that MMDetection3D installs, untouched."""

import os
import re
import subprocess
import sys
from pathlib import Path

import mmdet3d
from mmengine.config import Config

from mmdistill.apis import as_arguments
from mmdistill.apis.demo import demo_options

TEACHER = 'configs/bevfusion/bevfusion_lidar_teacher_mini.py'
DISTILL = 'configs/distill/bevfusion_best_mini.py'
STOCK = Path(mmdet3d.__file__).parent / '.mim' / 'tools'
TOY_DISTILLER = """
_base_ = ['toy.py']
custom_imports = dict(imports=['toy_package', 'mmdistill'], allow_failed_imports=False)
model = dict(
    _delete_=True,
    type='Distiller',
    student={{_base_.model}},
    teacher=dict(config={{_base_.model}}, allow_random_weights=True),
    links=dict(layer=dict(student='layer', teacher='layer', loss=dict(type='FitNetLoss'))))
custom_hooks = [dict(type='DistillHook'), dict(type='StudentCheckpointHook'), dict(type='EMAHook')]
train_cfg = dict(max_epochs=1)
"""


def test_the_stock_tool_resumes_when_the_config_imports_mmdistill(toy_project, repository):
    config = toy_project.config
    imports = "['toy_package', 'mmdistill']"
    config.write_text(config.read_text().replace("['toy_package']", imports))
    train = [sys.executable, STOCK / 'train.py', 'toy.py', '--work-dir', 'run']
    path = f'{toy_project.folder}:{repository / "projects"}'
    first = toy_project.run(*train, '--cfg-options', 'train_cfg.max_epochs=1', PYTHONPATH=path)
    assert first.returncode == 0, first.stdout
    second = toy_project.run(*train, '--resume', PYTHONPATH=path)
    assert second.returncode == 0, second.stdout
    assert 'resumed epoch: 1' in second.stdout


def stock(repository, tool, *arguments):
    """Run an installed tool of MMDetection3D from the repository root."""
    result = subprocess.run(
        [sys.executable, str(STOCK / tool), *map(str, arguments)],
        cwd=repository,
        env={**os.environ, 'PYTHONPATH': str(repository / 'projects')},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout[-6000:]
    return result.stdout


def test_a_teacher_then_its_student_train_and_evaluate_by_the_stock_tools(
    repository, tmp_path, tiny_lidarsim
):
    def options(config, **more):
        cfg = Config.fromfile(str(repository / config), import_custom_modules=False)
        short = demo_options(cfg, str(tiny_lidarsim), seed=0, quick=True)
        short |= {
            f'train_cfg.{key}': 2
            for key in ('max_iters', 'val_interval')
            if 'max_iters' in cfg.train_cfg
        }
        return as_arguments({**short, **more})

    stock(repository, 'train.py', TEACHER, '--work-dir', tmp_path / 'teacher', *options(TEACHER))
    teacher = (tmp_path / 'teacher' / 'last_checkpoint').read_text()
    # Plain configs too are evaluated by the stock tool, though its torch.load is the safe one.
    folder = tmp_path / 'teacher_test'
    log = stock(repository, 'test.py', TEACHER, teacher, '--work-dir', folder, *options(TEACHER))
    assert 'mAP' in log
    more = {'model.teacher.checkpoint': teacher}
    log = stock(
        repository,
        'train.py',
        *(DISTILL, '--work-dir', tmp_path / 'distilled', *options(DISTILL, **more)),
    )
    assert 'distill/' in log
    student = (tmp_path / 'distilled' / 'last_checkpoint').read_text()
    log = stock(
        repository,
        'test.py',
        *(DISTILL, student, '--work-dir', tmp_path / 'test', *options(DISTILL, **more)),
    )
    assert 'mAP' in log


def test_the_files_of_a_distillation_run_test_alike_in_either_config(toy_project, repository):
    """By MMDetection3D's test.py and by ours; a random model would have another score."""
    (toy_project.folder / 'distill.py').write_text(TOY_DISTILLER)
    plain = toy_project.config
    plain.write_text(plain.read_text().replace("['toy_package']", "['toy_package', 'mmdistill']"))
    path = f'{toy_project.folder}:{repository / "projects"}'

    def run(tool, *arguments):
        result = toy_project.run(sys.executable, tool, *arguments, PYTHONPATH=path)
        assert result.returncode == 0, result.stdout
        return re.findall(r'Toy/NDS: (\S+)', result.stdout)[-1]

    validated = run(STOCK / 'train.py', 'distill.py', '--work-dir', 'run')
    for tool in (STOCK / 'test.py', repository / 'tools' / 'test.py'):
        for config, file in (('distill.py', 'epoch_1_student.pth'), ('toy.py', 'epoch_1.pth')):
            assert run(tool, config, f'run/{file}', '--work-dir', 'test') == validated
