"""Run commands that depend on each other: in order, side by side, once, and again after a stop.

A stage is finished when its stamp carries its fingerprint and its outputs exist. The fingerprint
covers the command, the stage's key and the fingerprints of the stages that it needs, so a changed
input redoes everything behind it and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmdistill.utils.files import written_whole

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 10
_TAIL_LINES = 30


@dataclass(frozen=True)
class Stage:
    """One command of a pipeline.

    Args:
        name (str): shown in front of its lines; names its stamp and log file.
        command (Sequence[str]): program and arguments, run without a shell.
        outputs (Sequence[Path]): files that exist when it has succeeded.
        needs (Sequence[str]): names of the stages that must be finished before.
        key (Mapping): what the result depends on besides the command, as JSON values.
        folder (Path, optional): the stage's own folder. It is kept when the same stage goes on
            after a stop, and emptied when the stage begins anew with another fingerprint.
        alone (bool): nothing else runs beside it, as a measurement of time needs. Defaults to
            False.
        always (bool): start it even when it is finished, because the command itself sees what is
            left to do. Defaults to False.
    """

    name: str
    command: Sequence[str]
    outputs: Sequence[Path] = ()
    needs: Sequence[str] = ()
    key: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    alone: bool = False
    always: bool = False


class Lines:
    """Tells of stages in lines of text, their own ones included; the base of other ways.

    Args:
        report (Callable): called with each line, from several threads.
    """

    def __init__(self, report: Callable[[str], Any]) -> None:
        self.report = report

    def already_done(self, name: str) -> None:
        """A stage need not be run."""
        self.report(f'[{name}] already done')

    def starts(self, name: str, goes_on: bool) -> None:
        """A stage begins, or goes on after a stop."""
        self.report(f'[{name}] {"goes on" if goes_on else "starts"}')

    def line(self, name: str, line: str) -> None:
        """A stage printed a line."""
        self.report(f'[{name}] {line}')

    def ends(self, name: str, seconds: float) -> None:
        """A stage is over, after so much wall time in all its starts."""
        self.report(f'[{name}] done in {seconds:.0f} s')

    def tick(self) -> None:
        """Time has gone by."""


class StageError(RuntimeError):
    """A stage failed; the message holds its last lines and the path of its log."""


class Pipeline:
    """Runs stages.

    Args:
        stages (Sequence[Stage]): every stage after those that it needs.
        state_dir (Path): folder for stamps and logs.
        parallel (int): how many stages may run at a time. Defaults to 1.
        env (Mapping[str, str], optional): variables laid over the environment of the commands.
        report (Callable): called with each line that a stage prints, and a line for what becomes
            of it, such as ``print``; from several threads.
        watcher (Lines, optional): is told the same in its own way, in place of ``report``.

    Raises:
        ValueError: two stages share a name, or a stage needs one that does not come before it.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        state_dir: Path,
        parallel: int = 1,
        env: Mapping[str, str] | None = None,
        report: Callable[[str], Any] = lambda line: None,
        watcher: Lines | None = None,
    ) -> None:
        self.stages = {stage.name: stage for stage in stages}
        if len(self.stages) != len(stages):
            raise ValueError(f'Stage names must differ, got {[stage.name for stage in stages]}.')
        self.state_dir = state_dir
        self.parallel = parallel
        self.env = {**os.environ, **(env or {})}
        self.watcher = watcher or Lines(report)
        self.fingerprints: dict[str, str] = {}
        for stage in stages:
            self.fingerprints[stage.name] = self._fingerprint(stage)

    def run(self) -> bool:
        """Bring every stage to its end.

        Stopped by an interrupt or by a failure, it ends the commands that are running and leaves
        what is needed to go on with the next call.

        Returns:
            bool: whether any stage was unfinished.

        Raises:
            StageError: a command failed or did not write its outputs.
        """
        self.state_dir.mkdir(parents=True, exist_ok=True)
        waiting = []
        for stage in self.stages.values():
            if stage.always or not self.is_finished(stage.name):
                waiting.append(stage)
            else:
                self.watcher.already_done(stage.name)
        any_unfinished = any(not self.is_finished(stage.name) for stage in waiting)
        running: dict[str, _Process] = {}
        with _stop_signals_as_interrupt():
            try:
                while waiting or running:
                    for stage in self._startable(waiting, running):
                        waiting.remove(stage)
                        running[stage.name] = self._start(stage)
                    time.sleep(_POLL_SECONDS)
                    self.watcher.tick()
                    for name, process in list(running.items()):
                        if process.is_over():
                            self._finish(self.stages[name], process)
                            del running[name]
            finally:
                _stop(list(running.values()))
                for name, process in running.items():
                    self._write_stamp(name, spent=process.seconds)
        return any_unfinished

    def is_finished(self, name: str) -> bool:
        """Whether a stage's stamp is the current one and its outputs exist."""
        stamp = self._read_stamp(name)
        outputs = self.stages[name].outputs
        return (
            stamp.get('fingerprint') == self.fingerprints[name]
            and 'seconds' in stamp
            and all(output.exists() for output in outputs)
        )

    def seconds(self, name: str) -> float:
        """Wall time that a finished stage took, over all its starts."""
        return self._read_stamp(name)['seconds']

    def _startable(self, waiting: list[Stage], running: Mapping[str, Any]) -> list[Stage]:
        """Choose the stages to start now, in the order in which they were given."""
        chosen: list[Stage] = []
        unfinished = {stage.name for stage in waiting} | set(running)
        for stage in waiting:
            busy = len(running) + len(chosen)
            if busy and (stage.alone or self._runs_alone(running)):
                continue
            if busy < self.parallel and not unfinished & set(stage.needs):
                chosen.append(stage)
                if stage.alone:
                    break
        return chosen

    def _runs_alone(self, running: Mapping[str, Any]) -> bool:
        return any(self.stages[name].alone for name in running)

    def _start(self, stage: Stage) -> _Process:
        before = self._read_stamp(stage.name)
        goes_on = before.get('fingerprint') == self.fingerprints[stage.name]
        if stage.folder is not None and stage.folder.exists() and not goes_on:
            shutil.rmtree(stage.folder)
        stopped = goes_on and 'seconds' not in before
        spent = before.get('spent', 0.0) if stopped else 0.0
        self._write_stamp(stage.name, spent=spent)
        self.watcher.starts(stage.name, goes_on=stopped)
        return _Process(stage, self._log_file(stage.name), self.env, spent, self.watcher.line)

    def _finish(self, stage: Stage, process: _Process) -> None:
        spent = process.seconds
        code = process.popen.returncode
        missing = [str(output) for output in stage.outputs if not output.exists()]
        if code != 0 or missing:
            self._write_stamp(stage.name, spent=spent)
            reason = f'exit status {code}' if code else f'it did not write {", ".join(missing)}'
            tail = '\n'.join(process.tail())
            raise StageError(
                f'Stage {stage.name!r} failed: {reason}. Its last lines:\n{tail}\n'
                f'Whole log: {process.log_file}\nThe same command again goes on from here.'
            )
        self._write_stamp(stage.name, spent=spent, seconds=spent)
        self.watcher.ends(stage.name, spent)

    def _fingerprint(self, stage: Stage) -> str:
        unknown = [name for name in stage.needs if name not in self.fingerprints]
        if unknown:
            raise ValueError(f'Stage {stage.name!r} needs {unknown}, which do not come before it.')
        content = {
            'command': [str(part) for part in stage.command],
            'key': stage.key,
            'needs': [self.fingerprints[name] for name in stage.needs],
        }
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _log_file(self, name: str) -> Path:
        return self.state_dir / f'{name}.log'

    def _read_stamp(self, name: str) -> dict[str, Any]:
        path = self.state_dir / f'{name}.json'
        if not path.exists():
            return {}
        try:
            return json.loads(path.read_text())
        except json.JSONDecodeError:  # the machine went down in the middle of a write
            return {}

    def _write_stamp(self, name: str, **content: Any) -> None:
        path = self.state_dir / f'{name}.json'
        with written_whole(path) as partial:
            partial.write_text(json.dumps({'fingerprint': self.fingerprints[name], **content}))


class _Process:
    """A running command whose lines are reported, with the stage's name, and go to its log."""

    def __init__(
        self,
        stage: Stage,
        log_file: Path,
        env: Mapping[str, str],
        seconds_before: float,
        report: Callable[[str, str], Any],
    ) -> None:
        self.log_file = log_file
        self._report = report
        self._began = time.monotonic() - seconds_before
        # A session of its own: an interrupt from the keyboard reaches only us, who then end the
        # command with everything that it started.
        self.popen = subprocess.Popen(
            [str(part) for part in stage.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            env=dict(env),
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._copy, args=(stage.name,), daemon=True)
        self._reader.start()

    @property
    def seconds(self) -> float:
        """Wall time of this start and of earlier ones that were stopped."""
        return time.monotonic() - self._began

    def is_over(self) -> bool:
        if self.popen.poll() is None:
            return False
        self._reader.join(timeout=5)
        return True

    def tail(self) -> list[str]:
        return self.log_file.read_text(errors='replace').splitlines()[-_TAIL_LINES:]

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def _copy(self, name: str) -> None:
        with self.log_file.open('a') as log:
            for line in self.popen.stdout:
                log.write(line)
                log.flush()
                if line.strip():
                    self._report(name, line.rstrip())


def _stop(processes: Sequence[_Process]) -> None:
    """End commands and all that they started: ask first, then insist."""
    for process in processes:
        process.signal(signal.SIGTERM)
    until = time.monotonic() + _GRACE_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.popen.wait(timeout=max(0.0, until - time.monotonic()))
        process.signal(signal.SIGKILL)
        process.popen.wait()


@contextlib.contextmanager
def _stop_signals_as_interrupt() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into KeyboardInterrupt, so that commands never outlive us."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, interrupt)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # as nohup sets it
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
