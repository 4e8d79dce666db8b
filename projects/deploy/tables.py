"""The package's tables, of what :mod:`deploy.bench` measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

Result = Mapping[str, Mapping[str, Any]]


def as_markdown(result: Result) -> str:
    """All tables of a result.

    Args:
        result: ``files``, ``speed``, ``pillars``, ``accuracy``: name of a network -> numbers, and
            ``run``: where they come from. What is missing is left out.
    """
    makers = (_files, _speed, _pillars, _accuracy)
    tables = [make(result[make.__name__[1:]]) for make in makers if result.get(make.__name__[1:])]
    run = {**result['run'], 'commit': _commits(result)}
    return '\n\n'.join([*tables, _origin(run)]) + '\n'


def report(folder: Path, meta: Mapping[str, Any]) -> str:
    """What an export wrote, and how far it is from torch, in a few lines.

    Args:
        folder: Of the export.
        meta: What its ``meta.json`` says.
    """
    files = [folder / name for name in meta['files']]
    lines = [f'{file}: {file.stat().st_size / 1e6:.2f} MB' for file in files]
    check, drift = meta['check'], meta.get('drift')
    if check is None:
        lines.append('not checked against torch')
    elif 'boxes' in check:
        lines.append(
            f'{check["frames"]} frames against torch: cells equal, {check["boxes"]} boxes within '
            f'{check["box_error"]:.1e} m, scores within {check["score_error"]:.1e}'
        )
        if check['undecided']:
            lines.append(
                f'{check["undecided"]} of them give equal scores at the end of the list of the '
                'best cells; their boxes were not compared'
            )
    else:
        lines.append(f'{check["frames"]} frames against spconv, run by {check["run_by"]}: {check}')
    if drift:
        lines.append(
            f'{meta["precision"]}: {drift["found"]:.1%} of the best boxes found, centres off by '
            f'{drift["center_error"]:.3f} m, scores by {drift["score_error"]:.4f}'
        )
    return '\n'.join(lines)


def deploy_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Teacher and student in torch, the student as ONNX and in INT8, one row each.

    Args:
        rows: Name -> ``megabytes``, ``ms``, and where known ``mAP`` and ``NDS``.
    """
    lines = ['| | MB | ms / frame | mAP | NDS |', '|---|---:|---:|---:|---:|']
    for name, row in rows.items():
        accuracy = ' | '.join(f'{row[key]:.3f}' if key in row else '' for key in ('mAP', 'NDS'))
        lines.append(f'| {name} | {row["megabytes"]:.2f} | {row["ms"]:.0f} | {accuracy} |')
    return '\n'.join(lines)


def origin_of_deploy_table(result: Result) -> str:
    """Where the numbers of the deploy table come from."""
    run, commits = result['run'], _commits({'deploy': result['deploy']})
    return (
        f'Measured by `tools/benchmarks/bench_export.py` at commit {commits} on '
        f'{run["date"]}: {run["machine"]}, one thread, processor time from points to boxes, the '
        f'models taking turns on {run["frames"]} frames of the embedded data set; '
        f'{run["training"]}. Sizes are those of the weights in torch and of the files as ONNX.'
    )


def _files(rows: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        '| one file | points / voxels | nodes | MB | voxel cells | BEV map '
        '| boxes compared | boxes, m | scores |',
        '|---|---:|---:|---:|---|---:|---:|---:|---:|',
    ]
    for name, row in rows.items():
        check = row['check']
        bev = check['layers']['pts_middle_encoder']
        lines.append(
            f'| {name} | {row["points"]:,} / {row["voxels"]:,} | {row["nodes"]} '
            f'| {row["megabytes"]:.1f} | {check["cells"]} | {bev:.1e} | {check["boxes"]} '
            f'| {check["box_error"]:.1e} | {check["score_error"]:.1e} |'
        )
    return '\n'.join(lines)


def _speed(rows: Mapping[str, Mapping[str, float]]) -> str:
    lines = [
        '| processor ms | torch + spconv | ONNX | | dense: torch | ONNX | | INT8 | of ONNX |',
        '|---|---:|---:|---:|---:|---:|---:|---:|---:|',
    ]
    for name, row in rows.items():
        lines.append(
            f'| {name} | {row["torch"]:.0f} | {row["onnx"]:.0f} | {_times(row, "torch", "onnx")} '
            f'| {row["torch_dense"]:.1f} | {row["onnx_dense"]:.1f} '
            f'| {_times(row, "torch_dense", "onnx_dense")} | {row["int8_dense"]:.1f} '
            f'| {_times(row, "onnx_dense", "int8_dense")} |'
        )
    return '\n'.join(lines)


def _pillars(rows: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        '| pillars | MB | maps | boxes, m | ms, maps: torch | ONNX | | boxes: torch | ONNX | |',
        '|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|',
    ]
    for name, row in rows.items():
        check = row['check']
        # The layers before the head are no maps that are given out.
        maps = [
            error
            for layer, error in check['layers'].items()
            if not layer.startswith(('middle_encoder', 'backbone', 'neck'))
        ]
        boxes = f'{check["box_error"]:.1e}' if check['boxes'] else 'none found'
        lines.append(
            f'| {name} | {row["megabytes"]:.1f} | {max(maps):.1e} | {boxes} '
            f'| {row["torch_maps"]:.0f} | {row["onnx_maps"]:.0f} '
            f'| {_times(row, "torch_maps", "onnx_maps")} | {row["torch"]:.0f} | {row["onnx"]:.0f} '
            f'| {_times(row, "torch", "onnx")} |'
        )
    return '\n'.join(lines)


def _accuracy(rows: Mapping[str, Mapping[str, float]]) -> str:
    lines = ['| on the embedded data set | mAP | NDS |', '|---|---:|---:|']
    lines += [f'| {name} | {row["mAP"]:.4f} | {row["NDS"]:.4f} |' for name, row in rows.items()]
    return '\n'.join(lines)


def _commits(result: Result) -> str:
    """The commits at which the rows were measured."""
    rows = [row for section, rows in result.items() if section != 'run' for row in rows.values()]
    return ', '.join(sorted({row['commit'] for row in rows}))


def _origin(run: Mapping[str, Any]) -> str:
    trained = ''
    if run.get('training'):
        trained = f'; those of the accuracies are trained: {run["training"]}'
    return (
        f'Measured by `tools/benchmarks/bench_export.py` at commit {run["commit"]} on '
        f'{run["date"]}: {run["machine"]}, torch {run["torch"]}, onnxruntime '
        f'{run["onnxruntime"]}. Times are medians over {run["rounds"]} rounds (half as many '
        'for S, XS and XXS), after two that are left out, of processor time of one thread, all '
        'variants taking turns, with the allocator as glibc has it. Clouds are of the embedded '
        'data set: for mini and pillars as it is, for S, XS and XXS generated with '
        f'{run["dense_azimuths"]} azimuths and 9 sweeps, as dense as nuScenes. '
        f'Errors are the largest on {run["frames"]} frames. '
        f'Weights are random (seed {run["seed"]}) with norms of one cloud and, of BEVFusion, '
        f'heatmaps spread as wide as trained ones{trained}.'
    )


def _times(row: Mapping[str, float], slow: str, fast: str) -> str:
    return f'**{row[slow] / row[fast]:.2f}x**'
