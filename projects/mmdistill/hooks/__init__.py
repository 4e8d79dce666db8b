"""Hooks: what a distiller needs of the runner, and what a student starts and ends with."""

from mmdistill.hooks.distill_hook import DistillHook
from mmdistill.hooks.fit_checkpoint_hook import FitCheckpointHook
from mmdistill.hooks.random_state_hook import RandomStateHook
from mmdistill.hooks.student_checkpoint_hook import StudentCheckpointHook
from mmdistill.hooks.teacher_init_hook import TeacherInitHook

__all__ = [
    'DistillHook',
    'FitCheckpointHook',
    'RandomStateHook',
    'StudentCheckpointHook',
    'TeacherInitHook',
]
