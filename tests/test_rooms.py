"""Packages import one way, nobody imports a tool, and tools are commands."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {path.name: path for path in (ROOT / 'projects').iterdir() if path.is_dir()}
MAY_IMPORT = {
    'mmdistill': set(),
    'mmdistill3d': {'mmdistill', 'bevfusion'},
    'kitti_infos': {'nuscenes_infos'},
    'lidarsim': {'nuscenes_infos', 'kitti_infos'},
    'deploy': {'bevfusion'},
    'mmdistill_hf': {'mmdistill'},
    'medvl': {'mmdistill_hf'},
    'videocls': {'mmdistill_hf'},
}
"""Our packages that each may import; one that is not named may import none."""

LONG = ('tools/check_env.py', 'tools/benchmarks/')
"""Tools whose length is their own: one starts in an empty Python, the others measure."""


def imported(file):
    """The outermost packages that a file names in absolute imports, at any depth of its code."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition('.')[0]


@pytest.mark.parametrize('name', sorted(PACKAGES))
def test_a_package_imports_no_tool_and_no_room_above_it(name):
    forbidden = {'tools', *PACKAGES} - {name} - MAY_IMPORT.get(name, set())
    for file in PACKAGES[name].rglob('*.py'):
        assert not forbidden & set(imported(file)), file


def test_tests_import_no_tool():
    for file in (ROOT / 'tests').rglob('*.py'):
        assert 'tools' not in set(imported(file)), file


def test_a_tool_is_a_command():
    for file in (ROOT / 'tools').rglob('*.py'):
        name = str(file.relative_to(ROOT))
        if not name.startswith(LONG):
            assert len(file.read_text().splitlines()) <= 130, name


def test_mmdistill_needs_torch_and_mmengine_alone():
    """All of it is imported where MMCV, MMDetection, MMDetection3D and spconv are not."""
    script = """
import importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {'mmcv', 'mmdet', 'mmdet3d', 'spconv', 'nuscenes'}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import mmdistill

found = [mmdistill.__name__]
for module in pkgutil.walk_packages(mmdistill.__path__, 'mmdistill.'):
    importlib.import_module(module.name)
    found.append(module.name)
print(len(found))
"""
    done = subprocess.run(
        [sys.executable, '-c', script],
        env={'PYTHONPATH': str(ROOT / 'projects'), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60
