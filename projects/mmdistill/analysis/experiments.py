"""Tables and pictures of experiments, from the files that they left."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmdistill.analysis.paired import Difference, paired_difference
from mmdistill.analysis.tables import describe_run


@dataclass
class Group:
    """Runs that differ in their seed alone.

    Attributes:
        name: Path of their folder below the work dir.
        runs: Content of each ``results.json``, by seed.
    """

    name: str
    runs: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """The config, but for the seed."""
        return next(iter(self.runs.values()))['config']

    def values(self, metric: str) -> dict[int, float]:
        """A test metric of each run, by seed.

        Raises:
            KeyError: The runs do not have it; lists those that they have.
        """
        found = {}
        for seed, run in self.runs.items():
            metrics = run['test'] or {}
            if metric not in metrics:
                names = sorted(key for key, value in metrics.items() if isinstance(value, float))
                raise KeyError(f'{self.name} has no test metric {metric!r}; it has {names}')
            found[seed] = metrics[metric]
        return found


def read_groups(work_dir: str | Path) -> dict[str, Group]:
    """Read all results below a folder, in the order of their names.

    Args:
        work_dir: Holds ``NAME/seed_N/results.json``, where NAME may be several folders.

    Raises:
        FileNotFoundError: There are none.
    """
    root = Path(work_dir)
    groups: dict[str, Group] = {}
    for path in sorted(root.rglob('seed_*/results.json')):
        name = path.parent.parent.relative_to(root).as_posix()
        content = json.loads(path.read_text())
        seed = int(path.parent.name.removeprefix('seed_'))
        groups.setdefault(name, Group(name)).runs[seed] = content
    if not groups:
        raise FileNotFoundError(
            f'no results in {root}: expected NAME/seed_N/results.json, as tools/experiments.py and '
            'MetricsFileHook write them'
        )
    return groups


def differences(
    groups: Mapping[str, Group], metric: str, against: str
) -> dict[str, Difference | None]:
    """Compare each group with one, seed by seed; of varied options, with its equally varied runs.

    Args:
        groups: As :func:`read_groups` returns them.
        metric: A test metric.
        against: First folder of the name of what is compared with.
    """
    found: dict[str, Difference | None] = {}
    for name, group in groups.items():
        first, slash, rest = name.partition('/')
        other = groups.get(against + slash + rest)
        if first != against and other is not None:
            found[name] = paired_difference(group.values(metric), other.values(metric))
        else:
            found[name] = None
    return found


def as_markdown(
    groups: Mapping[str, Group],
    metrics: Sequence[str],
    against: str | None = None,
    show: Sequence[str] = (),
) -> str:
    """Return a table with a row for each group.

    Args:
        groups: As :func:`read_groups` returns them, in the order of the rows.
        metrics: Test metrics, mean ± deviation over seeds; the last is the one that is compared.
        against: First folder of the name of what is compared with.
        show: Entries of the plain model's config, such as ``'fusion.type'``, as columns.
    """
    head = ['run', 'links', *show, 'parameters', 'seeds', *metrics]
    compared: Mapping[str, Difference | None] = {}
    if against is not None:
        head.append(f'{metrics[-1]}, gain over {against} [95 %]')
        compared = differences(groups, metrics[-1], against)
    numbers = len(head) - 2 - len(show)
    lines = [_row(head), _row(['---'] * (2 + len(show)) + ['---:'] * numbers)]
    for name, group in groups.items():
        cells = [name, links_of(group.config), *(shown(group.config, key) for key in show)]
        parameters = next(iter(group.runs.values()))['parameters']['total']
        cells += [f'{parameters / 1e6:.3f} M', str(len(group.runs))]
        cells += [spread(list(group.values(metric).values())) for metric in metrics]
        if against is not None:
            cells.append(interval(compared[name]))
        lines.append(_row(cells))
    return '\n'.join(lines)


def pivot(groups: Mapping[str, Group], metric: str, show: str) -> str:
    """Return a table of one metric with a column for each value of an option.

    A row is a config, or one of the other options that were varied beside it.

    Args:
        groups: As :func:`read_groups` returns them.
        metric: A test metric.
        show: Entry of the plain model's config, such as ``'fusion.type'``.
    """
    cells: dict[str, dict[str, list[float]]] = {}
    for name, group in groups.items():
        parts = [part for part in name.split('/') if not part.startswith(f'{show}=')]
        row = cells.setdefault('/'.join(parts), {})
        row.setdefault(shown(group.config, show), []).extend(group.values(metric).values())
    columns = sorted({column for row in cells.values() for column in row})
    lines = [_row([metric, *columns]), _row(['---', *['---:'] * len(columns)])]
    for name, row in cells.items():
        lines.append(_row([name, *(spread(row.get(column, [])) for column in columns)]))
    return '\n'.join(lines)


def origin(groups: Mapping[str, Group]) -> str:
    """Return the sentence below a table: seeds, commit, machine."""
    here = describe_run()
    seeds = sorted({seed for group in groups.values() for seed in group.runs})
    return (
        f'Mean ± deviation over seeds {", ".join(map(str, seeds))}; gains are means of the '
        'differences between runs of equal seed, with their 95 % interval (t), bold where zero '
        'lies outside. Test metrics of the checkpoint that was best on dev. Written by '
        f'`tools/experiments.py` at commit {here["commit"]} on {here["date"]}: {here["machine"]}, '
        f'{here["device"]}, torch {here["torch"]}.'
    )


def links_of(config: Mapping[str, Any]) -> str:
    """Losses of a distiller's links, or a dash."""
    links = config['model'].get('links') or {}
    losses = dict.fromkeys(link['loss']['type'] for link in links.values() if link)
    return ', '.join(losses) or '-'


def shown(config: Mapping[str, Any], key: str) -> str:
    """An entry of the plain model's config; of a distiller, the student's."""
    value: Any = config['model'].get('student', config['model'])
    for part in key.split('.'):
        value = value.get(part) if isinstance(value, Mapping) else None
    return '-' if value is None else str(value)


def spread(values: Sequence[float]) -> str:
    """Mean ± deviation."""
    if not values:
        return '-'
    deviation = f' ± {statistics.stdev(values):.3f}' if len(values) > 1 else ''
    return f'{statistics.fmean(values):.3f}{deviation}'


def interval(difference: Difference | None) -> str:
    """A difference with its 95 % interval; bold where zero lies outside."""
    if difference is None:
        return '-'
    if difference.low is None or difference.high is None:
        return f'{difference.mean:+.3f}'
    text = f'{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]'
    return f'**{text}**' if difference.low > 0 or difference.high < 0 else text


def draw(
    groups: Mapping[str, Group], metric: str, path: str | Path, against: str | None = None
) -> None:
    """Draw each run's metric, the mean of each group, and the gains with their intervals.

    Args:
        groups: As :func:`read_groups` returns them; from top to bottom.
        metric: A test metric.
        path: PNG file to write.
        against: First folder of the name of what is compared with.
    """
    from matplotlib.figure import Figure

    columns = 1 if against is None else 2
    figure = Figure(figsize=(4.5 * columns + 2, 0.4 * len(groups) + 1.2), layout='constrained')
    axes = figure.subplots(1, columns, sharey=True, squeeze=False)[0]
    places = range(len(groups))
    for place, group in zip(places, groups.values(), strict=True):
        values = list(group.values(metric).values())
        axes[0].plot(values, [place] * len(values), 'o', color='C0', alpha=0.4, markersize=4)
        axes[0].plot(statistics.fmean(values), place, '|', color='C0', markersize=16)
    axes[0].set_yticks(places, list(groups))
    axes[0].invert_yaxis()
    axes[0].set_xlabel(metric)
    if against is not None:
        for place, gain in zip(places, differences(groups, metric, against).values(), strict=True):
            if gain is not None:
                axes[1].plot(gain.mean, place, 'o', color='C1')
            if gain is not None and gain.low is not None:
                axes[1].hlines(place, gain.low, gain.high, color='C1')
        axes[1].axvline(0, color='grey', linewidth=0.8)
        axes[1].set_xlabel(f'gain over {against}, 95 % interval')
    figure.savefig(path, dpi=110)


def _row(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'
