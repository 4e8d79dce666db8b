"""Hooks: progress and memory size for the distiller, and the plain student beside checkpoints."""

from mmdistill.hooks.distill_hook import DistillHook
from mmdistill.hooks.student_checkpoint_hook import StudentCheckpointHook

__all__ = ['DistillHook', 'StudentCheckpointHook']
