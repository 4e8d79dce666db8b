"""Hooks: what the distiller needs of the runner, random states, the student's first weights and its
exported file."""

from mmdistill.hooks.distill_hook import DistillHook
from mmdistill.hooks.random_state_hook import RandomStateHook
from mmdistill.hooks.student_checkpoint_hook import StudentCheckpointHook
from mmdistill.hooks.teacher_init_hook import TeacherInitHook

__all__ = ['DistillHook', 'RandomStateHook', 'StudentCheckpointHook', 'TeacherInitHook']
