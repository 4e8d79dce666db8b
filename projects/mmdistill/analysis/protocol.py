"""A comparison of training recipes with its controls: rows, seeds, lengths, intervals.

A protocol is a config file that lists rows; a row is one recipe, trained once for each seed and
judged by its last checkpoint::

    protocol = dict(
        epochs=4,
        seeds=[0, 1, 2, 3, 4],
        options={'data_root': 'data/other/'},           # laid over the config of every run
        rows=[
            dict(name='alone', label='alone', config='student.py'),
            dict(name='linked', label='with links', config='linked.py', against=['alone']),
            dict(name='longer', label='alone, as long as with links', config='student.py',
                 against=['alone'], as_long_as='linked', instead_of='alone'),
        ])

A teacher that is trained first is a row, too, with seeds and a length of its own; the rows that it
teaches name it: ``teacher='NAME'``.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdistill.analysis.paired import Difference, paired_difference
from mmdistill.analysis.results import last_validation

# What a run's length in epochs is written to: loop, validation at the end, one-cycle schedule.
_LENGTH_KEYS = ('train_cfg.max_epochs', 'train_cfg.val_interval', 'param_scheduler.0.total_steps')


@dataclass(frozen=True)
class Row:
    """One recipe.

    Args:
        name: Short name, of its folders; unique in the protocol.
        label: What the table calls it.
        config: Path of its training config.
        options: Config entries laid over it, by dotted key.
        against: Names of the rows that it is compared with.
        seeds: Seeds of its own; those of the protocol if left out.
        as_long_as: Name of a row whose training time it gets, in more epochs; with
            ``instead_of``.
        instead_of: Name of the row that trains as this one, for the protocol's epochs: its steps
            say how long an epoch takes.
        epochs: Length of its own; that of the protocol if left out.
        teacher: Name of an earlier row: the last checkpoint of its first seed is the teacher.
    """

    name: str
    label: str
    config: str
    options: Mapping[str, Any] = field(default_factory=dict)
    against: Sequence[str] = ()
    seeds: Sequence[int] | None = None
    as_long_as: str | None = None
    instead_of: str | None = None
    epochs: int | None = None
    teacher: str | None = None


@dataclass(frozen=True)
class Run:
    """One training run: a row and a seed.

    Attributes:
        name: ``<row>_seed<seed>``, also its folder.
        row: Its row.
        seed: Its seed.
        epochs: Its length.
        options: All config entries that it lays over the row's config.
        needs: Names of the runs that come before it.
    """

    name: str
    row: Row
    seed: int
    epochs: int
    options: Mapping[str, Any]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Protocol:
    """Rows that are trained on the same data with the same seeds.

    Args:
        rows: The recipes, in the order of the table.
        epochs: Length of every run, unless its row says otherwise.
        seeds: Seeds of every row that has none of its own.
        options: Config entries laid over every config.
        compared: By which metrics rows are compared with others.
        metrics: What the table shows, by the last part of its name in the log.
        titles: What the table calls metrics, where their names are long.
        digits: Decimals of metrics in the table.

    Raises:
        ValueError: Two rows share a name, or a row names one that does not exist, or a teacher
            that comes behind it.
    """

    rows: Sequence[Row]
    epochs: int
    seeds: Sequence[int]
    options: Mapping[str, Any] = field(default_factory=dict)
    compared: Sequence[str] = ('mAP',)
    metrics: Sequence[str] = ('mAP', 'NDS', 'mAOE', 'mAVE')
    titles: Mapping[str, str] = field(default_factory=dict)
    digits: int = 3

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError(f'rows of a protocol need names of their own, got {names}')
        for row in self.rows:
            asked = [*row.against, *filter(None, (row.as_long_as, row.instead_of, row.teacher))]
            unknown = sorted(set(asked) - set(names))
            if unknown:
                raise ValueError(f'row {row.name!r} names the rows {unknown}; there are {names}')
            if (row.as_long_as is None) != (row.instead_of is None):
                raise ValueError(f'row {row.name!r}: as_long_as and instead_of belong together')
            if row.teacher is not None and names.index(row.teacher) >= names.index(row.name):
                raise ValueError(
                    f'row {row.name!r} has the teacher {row.teacher!r}, which is trained behind '
                    'it: put it first'
                )
        unknown = [name for name in self.compared if name not in self.metrics]
        if unknown:
            raise ValueError(
                f'rows are compared by {unknown}, which are none of the metrics '
                f'{list(self.metrics)}; name them in both'
            )

    @classmethod
    def from_file(cls, path: str | Path) -> Protocol:
        """Read the ``protocol`` of a config file.

        Raises:
            ValueError: The file has no ``protocol``, or it contradicts itself.
        """
        cfg = Config.fromfile(path, import_custom_modules=False)
        if 'protocol' not in cfg:
            raise ValueError(f'{path} has no `protocol`; it has {sorted(cfg)}')
        content = cfg.protocol.to_dict()
        rows = [Row(**row) for row in content.pop('rows')]
        return cls(rows=rows, **content)

    def shortened(self, seeds: Sequence[int] | None, epochs: int | None) -> Protocol:
        """Return the protocol with other seeds and another length of every run, where given.

        Of a row with seeds of its own those remain that are asked for; teachers keep theirs, since
        of another seed they would be other teachers.
        """
        protocol = self
        if seeds is not None:
            teachers = {row.teacher for row in self.rows}
            rows = [
                row
                if row.seeds is None or row.name in teachers
                else replace(row, seeds=[seed for seed in row.seeds if seed in seeds])
                for row in self.rows
            ]
            protocol = replace(protocol, seeds=seeds, rows=rows)
        if epochs is not None:
            rows = [replace(row, epochs=None) for row in protocol.rows]
            protocol = replace(protocol, epochs=epochs, rows=rows)
        return protocol

    def runs(self, folder: Path) -> list[Run]:
        """All runs whose length is known: teachers, then each seed's rows before the next one's.

        A row with ``as_long_as`` is left out until both rows that tell its length have finished
        a run of the protocol's first seed in ``folder``.
        """
        lengths = {row.name: self._epochs(row, folder) for row in self.rows}
        seeds = sorted({seed for row in self.rows for seed in self._seeds(row)})
        runs = [
            self._run(row, seed, lengths, folder)
            for seed in seeds
            for row in self.rows
            if seed in self._seeds(row) and lengths[row.name] is not None
        ]
        teachers = {row.teacher for row in self.rows}
        return sorted(runs, key=lambda run: run.row.name not in teachers)

    def timed_runs(self) -> set[str]:
        """Names of the runs whose steps say how long others train: those use no teacher cache."""
        rows = {name for row in self.rows for name in (row.as_long_as, row.instead_of) if name}
        return {run_name(name, self.seeds[0]) for name in rows}

    def _seeds(self, row: Row) -> Sequence[int]:
        return self.seeds if row.seeds is None else row.seeds

    def _epochs(self, row: Row, folder: Path) -> int | None:
        if row.as_long_as is None:
            return self.epochs if row.epochs is None else row.epochs
        steps = []
        for name in (row.as_long_as, row.instead_of):
            run_folder = folder / run_name(name, self.seeds[0])
            if not (run_folder / f'epoch_{self.epochs}.pth').exists():
                return None
            if reads_cache(run_folder):
                raise ValueError(
                    f'row {row.name!r} needs the time of {name!r}, but {run_folder.name} read its '
                    "teacher's answers from a cache: remove that folder and run it without "
                    '--teacher-cache'
                )
            steps.append(step_seconds(run_folder))
        return max(self.epochs, round(self.epochs * steps[0] / steps[1]))

    def _run(self, row: Row, seed: int, lengths: Mapping[str, int | None], folder: Path) -> Run:
        epochs = lengths[row.name]
        options = {
            **self.options,
            **row.options,
            **dict.fromkeys(_LENGTH_KEYS, epochs),
            'randomness.seed': seed,
            'default_hooks.checkpoint.max_keep_ckpts': 1,
        }
        needs = ()
        if row.teacher is not None:
            (teacher,) = (other for other in self.rows if other.name == row.teacher)
            needs = (run_name(teacher.name, self._seeds(teacher)[0]),)
            file = folder / needs[0] / f'epoch_{lengths[teacher.name]}.pth'
            options['model.teacher.checkpoint'] = str(file)
        return Run(run_name(row.name, seed), row, seed, epochs, options, needs)


def run_name(row: str, seed: int) -> str:
    """Name of a run and of its folder."""
    return f'{row}_seed{seed}'


def gather(protocol: Protocol, runs: Sequence[Run], folder: Path) -> list[dict[str, Any]]:
    """Collect what finished runs logged.

    Args:
        protocol: The protocol.
        runs: Its finished runs.
        folder: Holds the folders of the runs.

    Returns:
        For each row with a finished run: ``name``, ``label``, ``config``, ``epochs``,
        ``seeds`` (the metrics of each, by seed), ``minutes`` of the fastest run's training that
        used no teacher cache (None if all did), and ``against`` (by the other row's name and
        the metric, the :class:`~mmdistill.analysis.paired.Difference` as a dict).
    """
    found: dict[str, dict[int, dict[str, float]]] = {}
    minutes: dict[str, list[float]] = {}
    for run in runs:
        metrics = last_validation(folder / run.name, protocol.metrics)
        found.setdefault(run.row.name, {})[run.seed] = metrics
        if not reads_cache(folder / run.name):
            minutes.setdefault(run.row.name, []).append(training_seconds(folder / run.name) / 60)
    epochs = {run.row.name: run.epochs for run in runs}
    rows = []
    for row in protocol.rows:
        if row.name not in found:
            continue
        differences = {
            name: {
                metric: difference.__dict__
                for metric in protocol.compared
                if (difference := paired_difference(*_both(found, row.name, name, metric)))
            }
            for name in row.against
        }
        rows.append(
            dict(
                name=row.name,
                label=row.label,
                config=row.config,
                epochs=epochs[row.name],
                seeds=found[row.name],
                minutes=min(minutes.get(row.name, ()), default=None),
                against=differences,
            )
        )
    return rows


def _both(
    found: Mapping[str, Mapping[int, Mapping[str, float]]], row: str, other: str, metric: str
) -> list[dict[int, float]]:
    """A metric of two rows, by seed."""
    return [{seed: m[metric] for seed, m in found.get(name, {}).items()} for name in (row, other)]


def as_markdown(protocol: Protocol, rows: Sequence[Mapping[str, Any]]) -> str:
    """Format gathered rows as a table: mean and deviation over seeds, gains with intervals."""
    labels = {row['name']: row['label'] for row in rows}
    titles = {name: protocol.titles.get(name, name) for name in protocol.metrics}
    gained = [f'{titles[name]} gained' for name in protocol.compared]
    head = ['', 'epochs', 'seeds', *titles.values(), *gained, 'minutes']
    lines = [' | '.join(['', *head, '']).strip(), '|---' + '|---:' * (len(head) - 1) + '|']
    for row in rows:
        values = [
            _mean_and_deviation(
                [metrics[name] for metrics in row['seeds'].values()], protocol.digits
            )
            for name in protocol.metrics
        ]
        gains = [
            '; '.join(
                f'{_interval(Difference(**found[name]), protocol.digits)} over *{labels[other]}*'
                for other, found in row['against'].items()
                if name in found
            )
            for name in protocol.compared
        ]
        cells = [
            row['label'], str(row['epochs']), str(len(row['seeds'])), *values,
            *gains, '' if row['minutes'] is None else f'{row["minutes"]:.0f}',
        ]  # fmt: skip
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def step_seconds(folder: Path) -> float:
    """Median seconds of a training step of a run, from its log.

    Raises:
        FileNotFoundError: No training step is logged there.
    """
    return statistics.median(_step_times(folder))


def training_seconds(folder: Path) -> float:
    """Seconds that a run's training steps took: their median times their number.

    A run that was stopped, or stood still, counts as if it had not been.
    """
    steps = max(record['step'] for record in _scalars(folder) if 'loss' in record)
    return step_seconds(folder) * steps


def reads_cache(folder: Path) -> bool:
    """Whether a run took the teacher's answers from a cache, by the configs that it left behind."""
    paths = folder.glob('*/vis_data/config.py')  # of each start
    models = [Config.fromfile(path, import_custom_modules=False).model for path in paths]
    teachers = [t for m in models for t in (m.get('teacher', {}), *m.get('teachers', {}).values())]
    return any(teacher.get('cache') is not None for teacher in teachers)


def _step_times(folder: Path) -> list[float]:
    times = [record['time'] for record in _scalars(folder) if 'loss' in record]
    if not times:
        raise FileNotFoundError(f'no training step is logged under {folder}')
    return times


def _scalars(folder: Path) -> list[dict[str, Any]]:
    """What MMEngine logged in a work dir, oldest first; later starts of a run follow earlier."""
    logs = sorted(folder.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
    return [json.loads(line) for log in logs for line in log.read_text().splitlines()]


def _mean_and_deviation(values: Sequence[float], digits: int) -> str:
    if len(values) < 2:
        return f'{values[0]:.{digits}f}'
    return f'{statistics.fmean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}'


def _interval(difference: Difference, digits: int) -> str:
    mean = f'{difference.mean:+.{digits}f}'
    if difference.low is None:
        return mean
    return f'{mean} ({difference.low:+.{digits}f} .. {difference.high:+.{digits}f})'
