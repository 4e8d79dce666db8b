"""Hooks: what a distiller needs of the runner, what a student starts with, what a run leaves."""

from mmdistill.hooks.distill_hook import DistillHook
from mmdistill.hooks.final_test_hook import FinalTestHook
from mmdistill.hooks.fit_checkpoint_hook import FitCheckpointHook
from mmdistill.hooks.metrics_file_hook import MetricsFileHook
from mmdistill.hooks.random_state_hook import RandomStateHook
from mmdistill.hooks.record_hook import RecordHook
from mmdistill.hooks.student_checkpoint_hook import StudentCheckpointHook
from mmdistill.hooks.teacher_init_hook import TeacherInitHook

__all__ = [
    'DistillHook',
    'FinalTestHook',
    'FitCheckpointHook',
    'MetricsFileHook',
    'RandomStateHook',
    'RecordHook',
    'StudentCheckpointHook',
    'TeacherInitHook',
]
