"""Print the versions that matter, what does not work, and the command that mends it.

Exit status 1 means that training and testing cannot run; warnings alone leave it at 0. It starts
in a Python that has nothing installed.

Example:
    python tools/check_env.py
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import prepare_process

INSTALL_MMCV = (
    'MMCV_WITH_OPS=1 pip install --no-build-isolation --no-deps --force-reinstall '
    '--no-cache-dir mmcv==2.1.0'
)
INSTALL_SPCONV = 'pip install spconv-cu120==2.3.6 cumm-cu120==0.4.11'
INSTALL_TRANSFORMERS = 'pip install transformers==5.24.0'
OWN_PACKAGES = (
    'mmdistill',
    'mmdistill3d',
    'bevfusion',
    'lidarsim',
    'nuscenes_infos',
    'mmdistill_hf',
    'videocls',
    'videosim',
    'medvl',
    'medsim',
)
SPCONV_NAMES = ('spconv', *(f'spconv-cu{n}' for n in (111, 113, 114, 116, 117, 118, 120)))
SPCONV_NAMES += tuple(f'spconv-cu{n}' for n in (121, 124, 126))


class Problem(Exception):
    """A check failed.

    Args:
        what (str): what was found.
        cure (str): the command that mends it.
        fatal (bool): whether the main job cannot run so. Defaults to True.
    """

    def __init__(self, what: str, cure: str, fatal: bool = True) -> None:
        super().__init__(what)
        self.cure = cure
        self.fatal = fatal


def main() -> int:
    """Run every check, print one line for each, and return the exit status."""
    prepare_process()
    checks: dict[str, Callable[[], str]] = {
        'python': check_python,
        'numpy': check_numpy,
        'torch': check_torch,
        'cuda': check_cuda,
        'mmengine': lambda: check_package('mmengine', 'pip install mmengine==0.10.7'),
        'mmcv': check_mmcv,
        'mmdet': lambda: check_package('mmdet', 'pip install mmdet==3.3.0'),
        'mmdet3d': lambda: check_package('mmdet3d', 'pip install mmdet3d==1.4.0'),
        'spconv': check_spconv,
        'nuscenes-devkit': check_devkit,
        'open3d': check_open3d,
        'transformers': check_transformers,
        'torchvision': check_torchvision,
    }
    for name in OWN_PACKAGES:
        checks[name] = lambda name=name: check_own_package(name)
    can_run = True
    cures = []
    for name, check in checks.items():
        try:
            line = f'{"ok":5}{name:16} {check()}'
        except Problem as problem:
            can_run = can_run and not problem.fatal
            cures.append(f'  {name}: {problem.cure}')
            line = f'{"FAIL" if problem.fatal else "warn":5}{name:16} {problem}'
        print(line, flush=True)
    if cures:
        print('\nTo mend (make install does all of it in a .venv of its own):')
        print('\n'.join(cures))
    print('\nTraining and testing can run.' if can_run else '\nTraining and testing cannot run.')
    return 0 if can_run else 1


def check_python() -> str:
    """Python 3.10 or later on Linux; 3.11 is what is tested."""
    version = platform.python_version()
    minor = sys.version_info[1]
    if minor != 11:
        raise Problem(
            f'{version}, tested with 3.11', 'make install PYTHON=python3.11', fatal=minor < 10
        )
    return f'{version} ({sys.executable})'


def check_numpy() -> str:
    """NumPy 1.x: mmcv 2.1 and the devkit are built for it."""
    numpy = import_or_problem('numpy', 'pip install numpy==1.26.4')
    if int(numpy.__version__.split('.')[0]) >= 2:
        raise Problem(
            f'{numpy.__version__}, the devkit and mmcv 2.1 need numpy < 2',
            'pip install numpy==1.26.4',
        )
    if tuple(int(part) for part in numpy.__version__.split('.')[:2]) >= (1, 24):
        return f"{numpy.__version__} (has no np.long: mmdet3d 1.4's ObjectSample fails on it)"
    return numpy.__version__


def check_torch() -> str:
    """torch imports and multiplies."""
    torch = import_or_problem('torch', 'pip install torch==2.13.0')
    if not torch.equal(torch.ones(2, 2) @ torch.eye(2), torch.ones(2, 2)):
        raise Problem(
            f'{torch.__version__} multiplies wrongly', 'pip install --force-reinstall torch'
        )
    return f'{torch.__version__}, {torch.get_num_threads()} thread(s)'


def check_cuda() -> str:
    """CUDA is optional: without a device everything runs on the CPU."""
    torch = import_or_problem('torch', 'pip install torch==2.13.0')
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return f'{torch.version.cuda}: {", ".join(names)}'
    if torch.version.cuda is not None:
        return f'CPU only (torch is built for CUDA {torch.version.cuda}, no device is visible)'
    if Path('/dev/nvidia0').exists():
        raise Problem(
            'there is a GPU, but this torch is built for the CPU',
            'install a CUDA torch and mmcv, see the table in README.md',
            fatal=False,
        )
    return 'CPU only'


def check_mmcv() -> str:
    """mmcv's compiled operators load and compute a rotated overlap rightly."""
    mmcv = import_or_problem('mmcv', INSTALL_MMCV)
    version = tuple(int(part) for part in mmcv.__version__.split('.')[:2])
    if not (2, 0) <= version < (2, 2):
        raise Problem(f'{mmcv.__version__}, mmdet3d needs 2.0 <= mmcv < 2.2', INSTALL_MMCV)
    try:
        from mmcv.ops import box_iou_rotated, get_compiling_cuda_version
    except ImportError as error:
        raise Problem(
            f'{mmcv.__version__}, its operators do not load: {error}', INSTALL_MMCV
        ) from error
    import torch

    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0, 0.0], [1.0, 0.0, 2.0, 2.0, 0.0]])
    overlap = box_iou_rotated(boxes[:1], boxes[1:]).item()
    if abs(overlap - 1 / 3) > 1e-4:
        raise Problem(f'{mmcv.__version__}, overlap {overlap} instead of 1/3', INSTALL_MMCV)
    compiled_for = get_compiling_cuda_version()
    if torch.cuda.is_available() and compiled_for == 'not available':
        raise Problem(
            f'{mmcv.__version__}, operators for the CPU only, but there is a GPU',
            f'FORCE_CUDA=1 {INSTALL_MMCV}',
            fatal=False,
        )
    return f'{mmcv.__version__}, operators load (compiled for CUDA: {compiled_for})'


def check_spconv() -> str:
    """A sparse convolution runs on the device that training would use, by the algorithm for it."""
    import_or_problem('torch', 'pip install torch==2.13.0')
    import_or_problem('spconv', INSTALL_SPCONV)
    import torch
    from spconv.core import ConvAlgo
    from spconv.pytorch import SparseConvTensor, SubMConv3d

    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    conv = SubMConv3d(4, 8, 3, bias=False)
    if device == 'cpu':
        conv.algo = ConvAlgo.Native
    conv.to(device).eval()
    voxels = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 2]], dtype=torch.int32, device=device)
    try:
        with torch.no_grad():
            features = torch.ones(2, 4, device=device)
            output = conv(SparseConvTensor(features, voxels, [4, 4, 4], 1)).features
    except (RuntimeError, AssertionError) as error:
        raise Problem(
            f'a sparse convolution fails on {device}: {error}',
            f'{INSTALL_SPCONV}  (or the build for your CUDA, see README.md)',
        ) from error
    if output.shape != (2, 8) or not output.isfinite().all():
        raise Problem(f'a sparse convolution gave {tuple(output.shape)}', INSTALL_SPCONV)
    return f'{distribution_version(SPCONV_NAMES)}, on {device} by {conv.algo.name}'


def check_devkit() -> str:
    """The official nuScenes evaluation."""
    import_or_problem('nuscenes', 'pip install nuscenes-devkit==1.2.0')
    return distribution_version(('nuscenes-devkit',))


def check_open3d() -> str:
    """Only mmdet3d's 3D windows need it; our pictures do not."""
    try:
        import open3d
    except (ImportError, OSError) as error:
        return f'does not load, only needed for 3D windows ({error})'
    return open3d.__version__


def check_transformers() -> str:
    """Encoders of the video and medical configs; everything else runs without them."""
    try:
        version = importlib.metadata.version('transformers')
    except importlib.metadata.PackageNotFoundError as error:
        raise Problem(
            'not installed: configs/video and configs/medvl need it, nothing else',
            f'{INSTALL_TRANSFORMERS}  (or pip install -e .[video,medical])',
            fatal=False,
        ) from error
    if version != '5.24.0':
        raise Problem(f'{version}, tested with 5.24.0', INSTALL_TRANSFORMERS, fatal=False)
    torch = import_or_problem('torch', 'pip install torch==2.13.0')
    if tuple(int(part) for part in torch.__version__.split('.')[:2]) < (2, 6):
        raise Problem(
            f'{version} needs torch >= 2.6, this is {torch.__version__}',
            'a newer torch, for configs/video and configs/medvl only',
            fatal=False,
        )
    return version


def check_torchvision() -> str:
    """Nothing here needs torchvision or timm, and pip replaces the torch that is there for them."""
    torch = import_or_problem('torch', 'pip install torch==2.13.0')
    pip_options = ' (and timm, open-clip-torch): pip would replace this torch; give it --no-deps'
    try:
        version = importlib.metadata.version('torchvision')
    except importlib.metadata.PackageNotFoundError:
        return f'not installed, not needed{pip_options}'
    needs = importlib.metadata.requires('torchvision') or ()
    wanted = next((item for item in needs if item.startswith('torch==')), '')
    if wanted.removeprefix('torch==').split('+')[0] != torch.__version__.split('+')[0]:
        raise Problem(
            f'{version} asks for {wanted or "another torch"}, this is {torch.__version__}',
            'pip uninstall torchvision timm  (nothing here needs them)',
            fatal=False,
        )
    return f'{version}, not needed'


def check_package(name: str, cure: str) -> str:
    """A package imports; its version."""
    return import_or_problem(name, cure).__version__


def check_own_package(name: str) -> str:
    """One of this repository's packages imports; where from."""
    module = import_or_problem(name, 'pip install --no-deps --no-build-isolation -e .')
    return str(next(iter(module.__path__)))


def import_or_problem(name: str, cure: str) -> Any:
    """Import a module.

    Raises:
        Problem: it is not there, or fails while it is imported (also by assertion, as mmdet3d's
            version checks do).
    """
    try:
        return importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            raise Problem('not installed', cure) from error
        raise Problem(f'does not import: {type(error).__name__}: {error}', cure) from error


def distribution_version(names: tuple[str, ...]) -> str:
    """The first of these distributions that is installed, with its version."""
    for name in names:
        try:
            return f'{name} {importlib.metadata.version(name)}'
        except importlib.metadata.PackageNotFoundError:
            continue
    return 'version unknown'


if __name__ == '__main__':
    sys.exit(main())
