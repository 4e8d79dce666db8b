"""How long the stages of a demo will take on this machine, from a few timed steps."""

from __future__ import annotations

import copy
import json
import math
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from mmdistill.analysis.timing import milliseconds
from mmdistill.apis.preflight.state import State
from mmdistill.apis.preflight.training import build_optimizer, prepare, run_step, training_batch
from mmdistill.apis.stages import Stage, StageError

_STEPS, _SECONDS = 6, 5.0  # of each config, at most


@dataclass(frozen=True)
class Pace:
    """What was timed of a config.

    Args:
        step_s: Seconds of a training step with the config's batch.
        predict_s: Seconds of a prediction of one sample.
    """

    step_s: float
    predict_s: float

    def training_s(self, cfg: Config, train: int, val: int) -> float:
        """Seconds of a whole training.

        Args:
            cfg: Its config.
            train, val: How many samples the splits have.
        """
        schedule = cfg.train_cfg
        batch = cfg.train_dataloader.get('batch_size', 1)
        steps = schedule.get('max_iters')
        rounds = 1
        if steps is None:
            steps = schedule.max_epochs * math.ceil(train / batch)
            rounds = schedule.max_epochs // schedule.get('val_interval', 1)
        return steps * self.step_s + rounds * val * self.predict_s


def time_config(cfg: Config) -> Pace:
    """Time steps and predictions of a config on a made-up batch, with random weights.

    Args:
        cfg: Of a plain model or a distiller.

    Raises:
        Skip: Nothing tells what samples of the model look like.
    """
    cfg = copy.deepcopy(cfg)
    if 'teacher' in cfg.model:  # weights take no time, and may not be trained yet
        cfg.model.teacher.update(checkpoint=None, allow_random_weights=True)
    state = State(cfg)
    state.model = MODELS.build(cfg.model).to(state.device).train()
    batch, size, _ = training_batch(state, cfg.train_dataloader.get('batch_size', 1))
    state.optimizer, _ = build_optimizer(state)
    prepare(state)
    step_s = _median(partial(run_step, state, batch)) * cfg.train_dataloader.batch_size / size
    state.model.eval()
    with torch.no_grad():
        predict_s = _median(lambda: state.model.test_step(batch())) / size
    return Pace(step_s, predict_s)


def time_in_process(configs: Sequence[str], state: Path) -> tuple[dict[str, Pace], float]:
    """Time configs in a process of its own, whose memory ends with it; once, and then from a file.

    Args:
        configs: Paths of config files.
        state: Where the times are kept, with ``.json``, and what the process prints, with ``.log``.

    Returns:
        The pace of each config, and the seconds that a process takes before it computes.

    Raises:
        StageError: The process failed; names its log.
    """
    file, log = state.with_suffix('.json'), state.with_suffix('.log')
    wanted = {'configs': list(configs), 'host': socket.gethostname()}
    known = json.loads(file.read_text()) if file.is_file() else {}
    if {key: known.get(key) for key in wanted} != wanted:
        state.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, 'tools/benchmarks/time_steps.py', *configs, '--out', str(file)]
        with log.open('w') as output:
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            tail = '\n'.join(log.read_text().splitlines()[-10:])
            raise StageError(f'Timing the configs failed. Its last lines:\n{tail}\nLog: {log}')
        known = {**json.loads(file.read_text()), **wanted}
        file.write_text(json.dumps(known, indent=1) + '\n')
    return {name: Pace(**pace) for name, pace in known['paces'].items()}, known['start_s']


def makespan(stages: Sequence[Stage], seconds: Mapping[str, float], parallel: int) -> float:
    """Seconds until the last stage ends, each started as soon as a pipeline would start it.

    Args:
        stages: Every stage after those that it needs.
        seconds: What is left of each, by name; one that is not there is over.
        parallel: How many may run at a time.
    """
    waiting = [stage for stage in stages if stage.name in seconds]
    left = {stage.name for stage in waiting}
    running: dict[str, float] = {}
    alone = False
    now = 0.0
    while waiting or running:
        for stage in list(waiting):
            free = len(running) < parallel and not alone and not (stage.alone and running)
            if free and not left & set(stage.needs):
                waiting.remove(stage)
                running[stage.name] = now + seconds[stage.name]
                alone = stage.alone
        name = min(running, key=running.get)
        now = running.pop(name)
        left.discard(name)
        alone = alone and bool(running)
    return now


def _median(call: partial) -> float:
    """Median seconds of calls behind the first one, which warms up."""
    call()
    began, times = time.monotonic(), []
    while len(times) < _STEPS and (not times or time.monotonic() - began < _SECONDS):
        times.append(milliseconds(call)[0] / 1000)
    return statistics.median(times)
