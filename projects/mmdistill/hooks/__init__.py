"""Hooks: what the distiller needs of the runner, random states, and the exported student."""

from mmdistill.hooks.distill_hook import DistillHook
from mmdistill.hooks.random_state_hook import RandomStateHook
from mmdistill.hooks.student_checkpoint_hook import StudentCheckpointHook

__all__ = ['DistillHook', 'RandomStateHook', 'StudentCheckpointHook']
