"""Write a detector for a vehicle: build, check against torch, and only then put it in its place."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from torch import nn

from deploy import autoware, bevfusion, custom_check, libspconv, pillars
from deploy.check import check_export, measure_drift, quiet_options
from deploy.dense import joined
from deploy.frames import columns_of
from deploy.loading import Detector
from deploy.precision import halved, quantised

FORMS = ('onnx', 'split', 'autoware', 'libspconv')
PRECISIONS = ('float32', 'int8', 'float16')
RUNTIME = 'detector.py'
META = 'meta.json'
BOX_COLUMNS = (
    *('x', 'y', 'z', 'size_x', 'size_y', 'size_z', 'yaw'),
    *('velocity_x', 'velocity_y'),
)


def export(
    detector: Detector,
    out: str | Path,
    form: str = 'onnx',
    precision: str = 'float32',
    check: Sequence[np.ndarray] = (),
    calibration: Sequence[np.ndarray] = (),
) -> dict[str, Any]:
    """Export a detector into a folder, which is there afterwards whole or as it was before.

    Args:
        detector: What :func:`deploy.loading.load_detector` loaded.
        out: Folder to write; an earlier export in it is replaced.
        form: ``'onnx'``: one file, points to boxes. ``'split'``: the same as two files, voxels and
            sparse encoder, and the dense part. ``'autoware'``, ``'libspconv'``: for those
            runtimes; BEVFusion alone.
        precision: Of the dense part of the first two forms: ``'float32'``, ``'int8'`` or
            ``'float16'``.
        check: Clouds on which torch and the float32 export are compared, and the drift of a lower
            precision is measured.
        calibration: Clouds that show INT8 the range of the activations.

    Returns:
        What ``meta.json`` says.

    Raises:
        ExportDisagrees: The export does not do what torch does.
        FileExistsError: The folder holds something else.
        ValueError: The detector, or what was asked of it, is not among what is exported.
    """
    out, family = Path(out).absolute(), family_of(detector.model)
    _check_wishes(form, precision, family)
    _check_place(out)
    meta = describe(detector, form, precision)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{out.name}.partial-', dir=out.parent) as scratch:
        new = Path(scratch, 'new')
        new.mkdir()
        if form in ('autoware', 'libspconv'):
            _write_custom(new, meta, detector, check)
        else:
            _write_standard(new, meta, detector.model, check, calibration)
        (new / META).write_text(json.dumps(meta, indent=2) + '\n')
        if out.exists():
            out.rename(Path(scratch, 'old'))
        new.rename(out)
    return meta


def family_of(detector: nn.Module) -> ModuleType:
    """The module of this package that knows the detector's kind."""
    return bevfusion if type(detector).__name__ == 'BEVFusion' else pillars


def describe(detector: Detector, form: str, precision: str) -> dict[str, Any]:
    """What ``meta.json`` says before anything was measured."""
    family = family_of(detector.model)
    grid = family.voxel_grid(detector.model)
    high = [a + s * n for a, s, n in zip(grid.low_m, grid.size_m, grid.cells, strict=True)]
    decoding = family.decoding(detector.model)
    return dict(
        format=1,
        detector=type(detector.model).__name__,
        form=form,
        precision=precision,
        files=[],
        classes=detector.classes,
        point_columns=columns_of(detector.cfg, grid.columns),
        point_cloud_range=[*map(float, grid.low_m), *(round(float(edge), 6) for edge in high)],
        voxel_size=[float(size) for size in grid.size_m],
        grid_size=[int(cells) for cells in grid.cells],
        max_points_per_voxel=grid.max_points,
        max_voxels=grid.max_voxels,
        boxes=dict(
            columns=list(BOX_COLUMNS[: family.box_numbers(detector.model)]),
            units='metres, radians, metres per second',
            z='of the bottom face',
            yaw='about z, 0 along x, growing towards y',
            frame="the LiDAR's, of the cloud's newest sweep",
        ),
        decoding=decoding,
        config=detector.config,
        checkpoint=dict(file=Path(detector.checkpoint).name, sha256=detector.sha256),
        versions={name: version(name) for name in _TOOLS},
        check=None,
    )


_TOOLS = ('torch', 'onnx', 'onnxscript', 'onnxruntime', 'numpy', 'mmdet3d')


def _check_wishes(form: str, precision: str, family: ModuleType) -> None:
    if form not in FORMS or precision not in PRECISIONS:
        raise ValueError(
            f'form {form!r} and precision {precision!r}; known are {", ".join(FORMS)} and '
            f'{", ".join(PRECISIONS)}'
        )
    if form in ('autoware', 'libspconv'):
        if precision != 'float32':
            raise ValueError(f'{form} takes its precision at run time; leave --int8 and --fp16 out')
        if family is not bevfusion:
            raise ValueError(f'{form} is for sparse encoders; this detector has none: --form onnx')


def _check_place(out: Path) -> None:
    """Demand that nothing is there but an earlier export, which the new one replaces."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f'{out} is a file; name a folder')
    others = _no_part_of_an_export(out) if out.is_dir() else []
    if others:
        raise FileExistsError(
            f'{out} holds {", ".join(others[:5])}, no part of an earlier export, which would be '
            'replaced: move it, or name another folder'
        )


def _no_part_of_an_export(folder: Path) -> list[str]:
    """Names of what no export has written into a folder."""
    found = sorted(path.name for path in folder.iterdir())
    try:
        meta = json.loads((folder / META).read_text())
        own = {*meta['files'], RUNTIME, META, '__pycache__'}
    except (FileNotFoundError, ValueError, TypeError, KeyError):  # there is none, or of others
        return found
    return [name for name in found if name not in own and not name.startswith('ml_package_')]


def _write_standard(
    folder: Path,
    meta: dict[str, Any],
    model: nn.Module,
    check: Sequence[np.ndarray],
    calibration: Sequence[np.ndarray],
) -> None:
    family = family_of(model)
    sparse, layers = family.sparse_part(model)
    dense, dense_layers = family.dense_part(model)
    shutil.copyfile(Path(__file__).with_name('detector.py'), folder / RUNTIME)
    _write_models(folder, meta, sparse, dense)
    if check:
        everything = {**layers, **dense_layers}
        meta['check'] = check_export(folder, everything, model, family, check)
    if meta['precision'] == 'float32':
        return
    if meta['precision'] == 'int8':
        dense = quantised(dense, [_run(sparse, cloud) for cloud in calibration])
        meta['calibration_frames'] = len(calibration)
    else:
        dense = halved(dense)
    _write_models(folder, meta, sparse, dense)
    if check:
        meta['drift'] = measure_drift(folder, model, check)


def _write_models(
    folder: Path, meta: dict[str, Any], sparse: onnx.ModelProto, dense: onnx.ModelProto
) -> None:
    """Write the models, and beside them what the runtime needs to run them."""
    models = {'sparse.onnx': sparse, 'dense.onnx': dense}
    if meta['form'] == 'onnx':
        models = {'model.onnx': joined(sparse, dense)}
    for name, model in models.items():
        onnx.checker.check_model(model)
        onnx.save(model, folder / name)
    meta['files'] = list(models)
    (folder / META).write_text(json.dumps(meta))


def _write_custom(
    folder: Path, meta: dict[str, Any], detector: Detector, check: Sequence[np.ndarray]
) -> None:
    model = detector.model
    if meta['form'] == 'autoware':
        package = autoware.package_yaml(model, detector.classes, meta['point_columns'])
        sparse, dense = autoware.sparse_part(model), autoware.dense_part(model)
        name = 'bevfusion_lidar'
        files = {f'{name}.onnx': joined(sparse, dense)}
        (folder / f'ml_package_{name}.param.yaml').write_text(package)
        measure = custom_check.check_autoware
    else:
        sparse, (dense, _) = (
            libspconv.container(model.pts_middle_encoder, model.pts_voxel_layer.feature_scale),
            bevfusion.dense_part(model),
        )
        files = {'scn.onnx': sparse, 'dense.onnx': dense}
        measure = custom_check.check_libspconv
    for file, content in files.items():
        onnx.save(content, folder / file)
    meta['files'] = list(files)
    if check:
        meta['check'] = measure(sparse, model, check)


def _run(model: onnx.ModelProto, cloud: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs of a sparse part by name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), quiet_options())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {'points': cloud}), strict=True))
