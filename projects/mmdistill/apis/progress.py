"""What a pipeline of stages shows: a plan, and one line a stage with the time left."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from mmdistill.apis.plan import makespan
from mmdistill.apis.stages import Lines, Stage

_STEP = re.compile(
    r'Epoch\((?P<mode>train|val|test)\) (?:\[(?P<epoch>\d+)\])?\[ *(?P<iter>\d+)/(?P<length>\d+)\]'
    r'.* eta: (?:(?P<days>\d+) days?, )?(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)'
)
_EVERY_S = 30.0
_REDRAW_S = 1.0


class Progress(Lines):
    """Tells a pipeline's user what happens, in one line a stage.

    On a terminal the line of what is running is drawn anew each second; elsewhere it is repeated
    every half a minute.

    Args:
        stages: Of the pipeline, in its order.
        seconds: What each is expected to take; none where nothing was measured.
        parallel: How many run at a time.
        logs: Folder of their logs.
        verbose: Show the lines of the stages themselves, too.
        out: Where to; standard output by default.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        seconds: Mapping[str, float],
        parallel: int,
        logs: Path,
        verbose: bool = False,
        out: TextIO | None = None,
    ) -> None:
        super().__init__(self._print)
        self.stages = {stage.name: stage for stage in stages}
        self.seconds = dict(seconds)
        self.parallel, self.logs, self.verbose = parallel, logs, verbose
        self.out = sys.stdout if out is None else out
        self._began: dict[str, float] = {}
        self._told: dict[str, tuple[str, float]] = {}  # what its log says, and when it will end
        self._over: set[str] = set()
        self._drawn_at = time.monotonic()
        self._width = 0
        self._lock = threading.Lock()

    def plan(self, notes: Mapping[str, str], finished: Sequence[str], origin: str = '') -> None:
        """Print the stages, what each does, and how long.

        Args:
            notes: What each stage does, in words.
            finished: Stages that are done already.
            origin: Where the expected times come from, if there are any.
        """
        self._over.update(finished)
        width = max(16, *map(len, self.stages))
        for name in self.stages:
            if name in self._over:
                took = 'done'
            else:
                took = length(self.seconds[name]) if name in self.seconds else ''
            self._print(f'  {name:{width}s} {took:>8s}   {notes.get(name, "")}'.rstrip())
        where = f'Logs: {self.logs}/*.log' + ('' if self.verbose else '; VERBOSE=1 shows them')
        left = f'{length(self._left())} from now, {self.parallel} stage(s) at a time'
        self._print(f'{left}: {origin}\n{where}.' if self.seconds else f'{where}.')

    def already_done(self, name: str) -> None:
        """A stage need not be run; the plan has said so."""
        self._over.add(name)

    def starts(self, name: str, goes_on: bool) -> None:
        """A stage begins, or goes on after a stop."""
        self._began[name] = time.monotonic()
        if self.verbose or not self.out.isatty():
            self._print(f'{self._number(name)} {"goes on" if goes_on else "starts"}')

    def line(self, name: str, line: str) -> None:
        """A stage printed a line."""
        if self.verbose:
            self._print(f'[{name}] {line}')
        if step := _STEP.search(line):
            parts = (int(step[key] or 0) for key in ('days', 'hours', 'minutes', 'seconds'))
            days, hours, minutes, seconds = parts
            left = 86400 * days + 3600 * hours + 60 * minutes + seconds
            where = f'step {step["iter"]} of {step["length"]}'
            if step['epoch']:
                where = f'epoch {step["epoch"]}, {where}'
            if step['mode'] == 'train':
                self._told[name] = (where, time.monotonic() + left)
            else:
                self._told[name] = ('evaluates', self._told.get(name, ('', 0.0))[1])
        self.tick()

    def ends(self, name: str, seconds: float) -> None:
        """A stage is over."""
        self._over.add(name)
        self._began.pop(name, None)
        self._told.pop(name, None)
        left = self._left()
        tail = f', about {length(left)} left' if left else ''
        self._print(f'{self._number(name)} done in {length(seconds)}{tail}')

    def tick(self) -> None:
        """Show what is running, if that is due."""
        pause = _REDRAW_S if self.out.isatty() else _EVERY_S
        with self._lock:
            if not self._began or self.verbose or time.monotonic() - self._drawn_at < pause:
                return
            self._drawn_at = time.monotonic()
        parts = []
        for name in list(self._began):
            where, _ = self._told.get(name, ('', 0.0))
            until = self._remaining(name)
            told = [where, f'{length(until)} left' if until else '']
            parts.append(': '.join(filter(None, (name, ', '.join(filter(None, told))))))
        left = self._left()
        status = ' | '.join(parts) + (f'   (all: {length(left)})' if left else '')
        if self.out.isatty():
            with self._lock:
                self.out.write(f'\r{status:{self._width}s}')
                self.out.flush()
                self._width = len(status)
        else:
            self._print(f'  {status}')

    def _remaining(self, name: str) -> float:
        """Seconds that are left of a stage that runs."""
        _, end = self._told.get(name, ('', 0.0))
        expected = self._began.get(name, time.monotonic()) + self.seconds.get(name, 0.0)
        return max(max(end, expected if not end else 0.0) - time.monotonic(), 0.0)

    def _left(self) -> float:
        """Seconds until the last stage ends; 0 where nothing was measured."""
        if not self.seconds:
            return 0.0
        left = {
            name: self._remaining(name) if name in self._began else self.seconds.get(name, 0.0)
            for name in self.stages
            if name not in self._over
        }
        return makespan(list(self.stages.values()), left, self.parallel)

    def _number(self, name: str) -> str:
        return f'[{list(self.stages).index(name) + 1}/{len(self.stages)}] {name:16s}'

    def _print(self, text: str) -> None:
        with self._lock:
            blank = f'\r{"":{self._width}s}\r' if self._width else ''
            self._width = 0
            self.out.write(f'{blank}{text}\n')
            self.out.flush()


def length(seconds: float) -> str:
    """Seconds as a reader has them: 40 s, 12 min, 1.5 h."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 5400 else f'{seconds / 3600:.1f} h'
