"""From a config to a run, on any machine."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import cuda, distributed

from mmdistill.apis.quiet import quieten


def build_runner(cfg: Config) -> Runner:
    """Build the config's own type of runner, or MMEngine's, without warnings of MMEngine's own."""
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    quieten(runner.logger)
    return runner


@contextlib.contextmanager
def process_group(cfg: Config) -> Iterator[None]:
    """Let a run join its process group on any machine, and leave it in order at the end.

    Under a ``pytorch`` launcher without CUDA the group is made here, by gloo: MMEngine selects a
    CUDA device on its way to ``init_process_group`` and hands DDP the device's number, and both
    fail on the CPU. At the end the group goes before the interpreter does: gloo's threads, which
    live as long as a DDP model holds the group, can abort a process that is shutting down. So keep
    no reference to the runner outside the block.

    Args:
        cfg (mmengine.Config): the run's config; ``model_wrapper_cfg`` is completed in place.
    """
    if cfg.get('launcher') == 'pytorch' and not cuda.is_available():
        distributed.init_process_group(backend='gloo')
        wrapper = cfg.get('model_wrapper_cfg') or {
            'type': 'MMDistributedDataParallel',
            'broadcast_buffers': False,
            'find_unused_parameters': cfg.get('find_unused_parameters', False),
        }
        cfg.model_wrapper_cfg = {**wrapper, 'device_ids': None}
    yield
    if distributed.is_initialized():
        distributed.barrier()
        gc.collect()
        distributed.destroy_process_group()
