"""Where a run comes from: commit, machine and command, beside its logs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from mmengine.dist import is_main_process

from mmdistill.analysis.tables import describe_run
from mmdistill.hooks.metrics_file_hook import write_json

ORIGIN = 'origin.json'


def write_origin(work_dir: str | Path) -> None:
    """Write ``origin.json`` into a work dir; of a run that was resumed, it is of its last start.

    Args:
        work_dir: Of the run.
    """
    if is_main_process():
        content = {**describe_run(), 'command': shlex.join(sys.argv)}
        write_json(Path(work_dir) / ORIGIN, content)
