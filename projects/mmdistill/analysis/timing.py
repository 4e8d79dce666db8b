"""Times of steps, on CUDA and on the CPU, with all that was ordered done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Stopwatch:
    """Seconds that have gone by, with all work of the device done."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        synchronize()
        start = time.perf_counter()
        yield
        synchronize()
        self.seconds = time.perf_counter() - start


def milliseconds(call: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds of a call on the clock, and those in which this process had a processor."""
    synchronize()
    began = time.perf_counter(), time.process_time()
    call()
    synchronize()
    ended = time.perf_counter(), time.process_time()
    return tuple(1000 * (b - a) for a, b in zip(began, ended, strict=True))


def synchronize() -> None:
    """Wait for the device, so that a clock shows what was computed and not what was ordered."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
