"""What MMEngine logged of a run: training steps, validations, and what it says of its machine."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_LINE = re.compile(
    r' - INFO - (?:Epoch|Iter)\((?P<mode>train|val|test)\)\s+'
    r'(?:\[(?P<epoch>\d+)\])?\[\s*(?P<iter>\d+)/(?P<length>\d+)\]\s+(?P<values>\S.*)'
)
_STAMPED = re.compile(r'\d{4}/\d\d/\d\d \d\d:\d\d:\d\d - ')
_FACTS = {
    'seed': re.compile(r'^\s+seed: (\d+)', re.M),
    'torch': re.compile(r'^\s+PyTorch: (\S+)', re.M),
    'device': re.compile(r'^\s+GPU [\d,]+: (.+)', re.M),
}
_NO_METRICS = ('step', 'time', 'data_time')


@dataclass
class Log:
    """A run's log, all its starts together.

    Args:
        train: A record for each logged training step: ``step``, ``epoch``, ``lr``, losses.
        validations: Metrics of each validation, with ``step``, its epoch (or iteration).
        tests: Metrics of evaluations that were logged here.
        config: Text of the config that a text log holds; empty without one.
        facts: ``seed``, ``torch``, ``device``, as far as the text log tells.
    """

    train: list[dict[str, float]] = field(default_factory=list)
    validations: list[dict[str, Any]] = field(default_factory=list)
    tests: list[dict[str, Any]] = field(default_factory=list)
    config: str = ''
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def hours(self) -> float | None:
        """Hours of training steps: their median time times their number; None without any."""
        times = [record['time'] for record in self.train if 'time' in record]
        if not times:
            return None
        return statistics.median(times) * self.train[-1]['step'] / 3600


def read_log(path: Path) -> Log:
    """Read a work dir's logs, or one log file.

    ``scalars.json`` is read where it is; else the lines of the text log, which are rounded. Of a
    run that was resumed, steps that were done again count as they were the last time.

    Args:
        path: Work dir, ``scalars.json``, or ``<time>.log``.
    """
    log = Log()
    texts = [path] if path.suffix == '.log' else sorted(path.glob('*/*.log'))
    tables = [path] if path.suffix == '.json' else sorted(path.glob('*/vis_data/scalars.json'))
    for text in texts:
        content = text.read_text(errors='replace')
        log.config = _config_of(content) or log.config
        for name, pattern in _FACTS.items():
            if found := pattern.search(content):
                log.facts[name] = found[1].strip()
    if any(table.stat().st_size for table in tables):
        for table in tables:
            _add(log, _records_of_table(table))
    else:
        for text in texts:
            _add(log, _records_of_text(text.read_text(errors='replace')))
    if not path.is_file():
        for file in sorted(path.glob('*/*.json')):  # what test.py writes
            log.tests.append(_without_times(json.loads(file.read_text())))
    return log


def _add(log: Log, records: Iterator[tuple[str, dict[str, Any]]]) -> None:
    """Add the records of one start; what an earlier start did from there on was lost."""
    records = list(records)
    steps = [record['step'] for mode, record in records if mode == 'train']
    if steps:
        log.train = [record for record in log.train if record['step'] < steps[0]]
    marks = [record['step'] for mode, record in records if mode == 'val']
    if marks:
        log.validations = [r for r in log.validations if r['step'] < marks[0]]
    for mode, record in records:
        if mode == 'train':
            log.train.append(record)
        elif mode == 'val':
            log.validations.append({'step': record['step'], **_without_times(record)})
        else:
            log.tests.append(_without_times(record))


def _records_of_table(table: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in table.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # the last line of a run that was killed
            continue
        if 'iter' in record:
            yield 'train', record
        elif _without_times(record):
            # test.py logs step 0 where nothing was trained
            yield ('val' if record.get('step') else 'test'), record


def _records_of_text(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    longest = 0
    for found in _LINE.finditer(text):
        values = dict(_values(found['values']))
        position, length = int(found['iter']), int(found['length'])
        epoch = int(found['epoch'] or 0)
        if found['mode'] == 'train':
            longest = max(longest, length)
            step = (epoch - 1) * length + position if epoch else position
            yield 'train', {**values, 'epoch': epoch, 'iter': position, 'step': step}
        elif _without_times(values):
            yield found['mode'], {**values, 'step': epoch or position}


def _values(text: str) -> Iterator[tuple[str, float]]:
    for item in re.split(r'\s{2,}', text.strip()):
        name, _, value = item.rpartition(': ')
        try:
            yield name, float(value)
        except ValueError:  # eta, and lists of a metric's own
            continue


def _without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in _NO_METRICS}


def _config_of(text: str) -> str:
    """The config that MMEngine prints at the start of a text log."""
    _, mark, rest = text.partition(' - INFO - Config:\n')
    if not mark:
        return ''
    end = _STAMPED.search(rest)
    return rest[: end.start()] if end else rest


def is_finite(value: Any) -> bool:
    """Whether a logged value is a number that can be drawn."""
    return isinstance(value, (int, float)) and math.isfinite(value)
