"""Warnings of MMEngine that nobody who runs a command can act on, kept out of its output."""

from __future__ import annotations

import logging

_UNACTIONABLE = (
    # What MMEngine's own checkpoint hook calls.
    '"FileClient" will be deprecated in future',
    '"HardDiskBackend" is the alias of "LocalBackend"',
)


def quieten(logger: logging.Logger) -> None:
    """Keep such warnings out of a logger, and nothing else."""
    logger.addFilter(_can_be_acted_on)


def _can_be_acted_on(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_UNACTIONABLE)
