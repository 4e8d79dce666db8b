"""The table of a teacher, a student alone and a student distilled: costs and test accuracy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from mmdistill.analysis.tables import describe_run
from mmdistill.hooks.metrics_file_hook import write_json


def read_runs(folders: Mapping[str, str | Path]) -> dict[str, dict[str, Any]]:
    """Read what runs left, by the label of their row.

    Args:
        folders: Work dir of each run; ``FinalTestHook`` and ``MetricsFileHook`` wrote there.

    Raises:
        FileNotFoundError: A run has not ended.
        ValueError: A run was not tested.
    """
    runs = {}
    for label, folder in folders.items():
        path = Path(folder) / 'results.json'
        if not path.is_file():
            raise FileNotFoundError(f'no results of {label}: {path} is written when training ends')
        runs[label] = json.loads(path.read_text())
        if not runs[label]['test']:
            raise ValueError(f'{path} holds no test: the config needs FinalTestHook')
    return runs


def evaluate_weights(cfg: Config, weights: str | Path, folder: str | Path) -> None:
    """Test weights that no run in ``folder`` has made, and leave the results as a run does.

    Args:
        cfg: Config of the model, with test data and metrics.
        weights: File that ships; beside it lies its note, a JSON file with ``seed``.
        folder: Gets ``results.json``.
    """
    seed = json.loads(Path(weights).with_suffix('.json').read_text())['seed']
    cfg = cfg.copy()
    cfg.load_from, cfg.work_dir = str(weights), str(folder)
    metrics = Runner.from_cfg(cfg).test()
    content = dict(config=cfg.to_dict(), test=metrics, software=dict(seed=seed))
    write_json(Path(folder) / 'results.json', content)


def as_markdown(
    runs: Mapping[str, Mapping[str, Any]],
    costs: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, str],
    sample: str = 'clip',
) -> str:
    """Return the table, and the sentence that says where it comes from.

    Args:
        runs: As :func:`read_runs` returns them.
        costs: Of each run's network, as :func:`mmdistill.analysis.comparison.measure` returns them.
        metrics: Headings by the test metric's name.
        sample: What is timed.
    """
    head = ['', 'Params', 'GMACs', f'ms / {sample}', *metrics.values()]
    lines = [_row(head), _row(['---', *['---:'] * (len(head) - 1)])]
    for (label, run), cost in zip(runs.items(), costs, strict=True):
        cells = [
            label,
            f'{cost["params"] / 1e6:.3f} M',
            f'{(cost["dense_macs"] + cost["sparse_macs"]) / 1e9:.3f}',
            f'{cost["processor_ms_per_frame"]:.1f}',
            *(f'{run["test"][name]:.3f}' for name in metrics),
        ]
        lines.append(_row(cells))
    here = describe_run()
    seeds = sorted({run['software']['seed'] for run in runs.values()})
    lines += [
        '',
        f'Test metrics of the epochs that were best on validation, seed '
        f'{", ".join(map(str, seeds))}; processor time of `test_step`, the models taking turns on '
        f'the same {sample}s, {here["device"]}. Measured at commit {here["commit"]} on '
        f'{here["date"]}: {here["machine"]}, torch {here["torch"]}.',
    ]
    return '\n'.join(lines)


def _row(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'
