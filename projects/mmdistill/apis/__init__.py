"""What commands are made of: options, configs, start-up checks, runs, preflight, pipelines."""

from mmdistill.apis.checks import check_checkpoint, check_config, check_data, check_teachers
from mmdistill.apis.config import (
    add_cfg_options,
    add_run_arguments,
    as_arguments,
    load_config,
    log_to_tensorboard,
    moved_paths,
    read_config,
    set_test_options,
    set_train_options,
)
from mmdistill.apis.origin import write_origin
from mmdistill.apis.run import build_runner, process_group

__all__ = [
    'add_cfg_options',
    'add_run_arguments',
    'as_arguments',
    'build_runner',
    'check_checkpoint',
    'check_config',
    'check_data',
    'check_teachers',
    'load_config',
    'log_to_tensorboard',
    'moved_paths',
    'process_group',
    'read_config',
    'set_test_options',
    'set_train_options',
    'write_origin',
]
