"""What came out: the table of accuracies, costs and gains, and what stands behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmdistill.analysis.paired import paired_difference
from mmdistill.report.content import Section, Table
from mmdistill.report.domain import ReportDomain
from mmdistill.report.header import trained
from mmdistill.report.runs import ROLES, Run

_AGAINST = {'distilled': ('alone', 'started'), 'started': ('alone',)}
_NO = '–'


def results_section(
    runs: Sequence[Run], domain: ReportDomain, costs: Mapping[str, Mapping[str, Any]], origin: str
) -> Section:
    """The table, and what the domain shows beside it.

    Args:
        runs: Of the page.
        domain: Of their models.
        costs: Of runs by name, as :func:`mmdistill.analysis.comparison.measure` returns them.
        origin: Where the costs come from.
    """
    section = Section('results', 'What came out')
    values = {run.name: domain.metrics(run.result) for run in runs}
    metrics = list(dict.fromkeys(name for found in values.values() for name in found))
    for run in runs:
        if not values[run.name]:
            section.notes.append(f'{run.name}: no validation or test yet ({trained(run)})')
        elif not run.is_finished and run.log.train:
            section.notes.append(f'{run.name}: judged by its {run.result_of}, half-way')
    others = [role for role in ('alone', 'started') if any(run.role == role for run in runs)]
    gains = [role for role in others if any(role in _AGAINST.get(r.role, ()) for r in runs)]
    head = ['', *metrics]
    if metrics:
        head += [f'{metrics[0]} over {ROLES[role].split(", ")[1]}' for role in gains]
    head += ['Params', 'GMACs', f'ms / {domain.sample}'] if costs else []
    named = {run.name for run in runs}
    rows = [  # a teacher that no run of the page trained
        [name, *[_NO] * (len(head) - 4), *_costs(cost)]
        for name, cost in costs.items()
        if name not in named
    ]
    for run in runs:
        cells = [run.name, *(_number(values[run.name].get(name)) for name in metrics)]
        if metrics:
            cells += [_gain(run, role, runs, values, metrics[0]) for role in gains]
        rows.append([*cells, *(_costs(costs.get(run.name)) if costs else ())])
    strong = [row[0] for row in rows].index
    distilled = [strong(run.name) for run in runs if run.role == 'distilled']
    judged = '; '.join(dict.fromkeys(f'{r.result_of}' for r in runs if r.result_of))
    caption = f'Judged by: {judged}. {origin}' if judged else origin
    section.blocks.append(Table(head, rows, caption, distilled[0] if distilled else None))
    if metrics:
        section.text = _sentence(runs, values, metrics[0], gains)
        section.notes += _unlike([run for run in runs if run.role != 'teacher'] if gains else [])
    section.blocks += domain.details(runs)
    return section


def _gain(
    run: Run,
    role: str,
    runs: Sequence[Run],
    values: Mapping[str, Mapping[str, float]],
    metric: str,
) -> str:
    """What a run gained over that of the same seed in another role."""
    if role not in _AGAINST.get(run.role, ()) or metric not in values[run.name]:
        return _NO
    same = [r for r in runs if r.role == role and r.seed == run.seed and metric in values[r.name]]
    if not same:
        return _NO
    return f'{values[run.name][metric] - values[same[0].name][metric]:+.3f}'


def _sentence(
    runs: Sequence[Run],
    values: Mapping[str, Mapping[str, float]],
    metric: str,
    gains: Sequence[str],
) -> str:
    """The gain in words, with its interval where several seeds tell one."""
    parts = []
    for role in gains:
        own, others = (_by_seed(runs, values, which, metric) for which in ('distilled', role))
        difference = paired_difference(own, others)
        if difference is None:
            continue
        what = {
            'alone': 'over the student alone',
            'started': 'over the same start without links',
        }[role]
        if difference.low is None:
            parts.append(f'{difference.mean:+.3f} {metric} {what}')
        else:
            parts.append(
                f'{difference.mean:+.3f} {metric} (95 % interval {difference.low:+.3f} to '
                f'{difference.high:+.3f}, {len(difference.seeds)} seeds) {what}'
            )
    if not parts:
        return ''
    seeds = {run.seed for run in runs if run.role == 'distilled'}
    caution = ' One seed: the noise of a run is not known from it.' if len(seeds) < 2 else ''
    return f'Distilled: {"; ".join(parts)}.{caution}'


def _unlike(runs: Sequence[Run]) -> list[str]:
    """In what runs differ that should differ in distillation alone."""
    facts = {
        'length': lambda run: trained(run),
        'training data': lambda run: _samples(run.cfg.get('train_dataloader', {}).get('dataset')),
        'batch': lambda run: run.cfg.get('train_dataloader', {}).get('batch_size'),
        'seed': lambda run: run.seed,
        'what they are judged by': lambda run: run.result_of.partition(' after ')[0],
    }
    known = [run for run in runs if run.cfg is not None]
    apart = []
    for name, fact in facts.items():
        by_role = {role: {str(fact(run)) for run in known if run.role == role} for role in ROLES}
        kinds = [kind for kind in by_role.values() if kind]
        if any(kind != kinds[0] for kind in kinds):
            apart.append(name)
    if not apart:
        return []
    return [f'the students differ also in {", ".join(apart)}: a gain is not of distillation alone']


def _samples(dataset: Any) -> Any:
    """What of a data set's config says which samples it has."""
    if isinstance(dataset, Mapping):
        return {key: _samples(value) for key, value in dataset.items() if 'pipeline' not in key}
    return dataset


def _by_seed(
    runs: Sequence[Run], values: Mapping[str, Mapping[str, float]], role: str, metric: str
) -> dict[Any, float]:
    return {
        run.seed: values[run.name][metric]
        for run in runs
        if run.role == role and metric in values[run.name]
    }


def _costs(cost: Mapping[str, Any] | None) -> list[str]:
    if cost is None:
        return [_NO, _NO, _NO]
    dense, sparse = cost['dense_macs'] / 1e9, cost['sparse_macs'] / 1e9
    digits = 2 if dense + sparse > 0.1 else 4
    macs = f'{dense + sparse:.{digits}f}'
    macs += f' ({dense:.{digits}f} + {sparse:.{digits}f} sparse)' if sparse else ''
    return [f'{cost["params"] / 1e6:.3f} M', macs, f'{cost["ms_per_frame"]:.1f}']


def _number(value: float | None) -> str:
    return _NO if value is None else f'{value:.3f}'
