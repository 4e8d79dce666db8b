"""What a check has found: one line each."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
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


class Skip(Exception):
    """A check cannot be made, for a reason that another check reports."""


def ok(text: str) -> Finding:
    return Finding(Verdict.OK, text)


def warning(text: str, cure: str) -> Finding:
    return Finding(Verdict.WARNING, text, cure)


def failed(text: str, cure: str = '') -> Finding:
    return Finding(Verdict.FAILED, text, cure)


def report(name: str, check: Callable[[], Iterable[Finding]]) -> list[Verdict]:
    """Run one check and print a line for each of its findings.

    Whatever a check raises would end the training run too, so it is a finding, not an error of
    this tool.

    Returns:
        The verdicts.
    """
    verdicts = []
    try:
        for finding in check():
            show(name, finding)
            verdicts.append(finding.verdict)
    except Skip as reason:
        show(name, Finding(Verdict.SKIPPED, f'not checked: {reason}'))
        verdicts.append(Verdict.SKIPPED)
    except Exception as error:
        first, _, rest = str(error).partition('\n')
        raised = traceback.extract_tb(error.__traceback__)[-1]
        where = f'Raised in {raised.filename}:{raised.lineno}.'
        show(name, failed(f'{type(error).__name__}: {first}', rest or where))
        verdicts.append(Verdict.FAILED)
    return verdicts


def show(name: str, finding: Finding) -> None:
    """Print a finding; its cure is indented below."""
    print(f'{finding.verdict.value:8} {name:9} {finding.text}', flush=True)
    for line in finding.cure.splitlines():
        print(f'{"":18} {line}', flush=True)
