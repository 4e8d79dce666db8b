"""What a check has found: one line each."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """How a check ended; only ``FAILED`` stops a run."""

    OK = 'OK'
    WARNING = 'WARNING'
    FAILED = 'FAILED'
    SKIPPED = 'SKIPPED'


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        verdict: How it ended.
        text: What was found, with its numbers.
        cure: What to do about it, over as many lines as it takes.
    """

    verdict: Verdict
    text: str
    cure: str = ''

    def as_text(self, check: str) -> str:
        """A line that begins with verdict and check; the cure is indented below."""
        lines = [f'{self.verdict.value:8} {check:9} {self.text}']
        return '\n'.join(lines + [f'{"":18} {line}' for line in self.cure.splitlines()])


class Skip(Exception):
    """A check cannot be made: another check reports why, or it does not apply to this model."""


def ok(text: str) -> Finding:
    return Finding(Verdict.OK, text)


def warning(text: str, cure: str) -> Finding:
    return Finding(Verdict.WARNING, text, cure)


def failed(text: str, cure: str = '') -> Finding:
    return Finding(Verdict.FAILED, text, cure)


def run_check(check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield the findings of one check.

    Whatever a check raises would end the training run too, so it is a finding, not an error of
    this tool.
    """
    try:
        yield from check()
    except Skip as reason:
        yield Finding(Verdict.SKIPPED, f'not checked: {reason}')
    except Exception as error:
        first, _, rest = str(error).partition('\n')
        raised = traceback.extract_tb(error.__traceback__)[-1]
        where = f'Raised in {raised.filename}:{raised.lineno}.'
        yield failed(f'{type(error).__name__}: {first}', rest or where)
