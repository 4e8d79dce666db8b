"""Starts a student from its teacher's weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop
from torch import nn

from mmdistill.distiller import Distiller
from mmdistill.hooks.distill_hook import find_distiller
from mmdistill.inherit import InheritanceReport, inherit

HALF_A_START = 0.5
"""Of its parameters; a student that inherits less of them does not start from its teacher."""


@HOOKS.register_module()
class TeacherInitHook(Hook):
    """Teacher-guided initialisation: the student's weights are cut from the teacher's.

    Each layer of the student gets the weights of the teacher's layer of the same name, whole or,
    where it is narrower, those of the first channels; see :func:`mmdistill.inherit.inherit`.
    Layers that the teacher lacks, or has with another kernel or narrower, keep their own
    initialisation. The log tells what was inherited, and warns if it is little. A resumed run goes
    on with its own weights.

    Source: Yang et al., "Towards Efficient 3D Object Detection with Knowledge Distillation",
    NeurIPS 2022 (teacher-guided initialisation, by the first channels).

    Config lines::

        custom_hooks = [
            dict(type='DistillHook'),
            dict(
                type='TeacherInitHook',
                grouped_inputs={
                    'backbone.blocks.0.0': dict(inner=2),     # reads channels c * 2 + d
                    'head.shared_conv': dict(blocks=2)}),     # reads two maps, concatenated
        ]

    Args:
        teacher: Which teacher, when there are several.
        grouped_inputs: Layout of a student layer's input channels, by its name, where they are
            no plain list; see :class:`~mmdistill.inherit.ChannelLayout`.
        names: Teacher's name of a student's layer or branch where they differ.
        exclude: Student's layers or branches that keep their own initialisation, for example a
            classifier whose classes are others than the teacher's.
    """

    # Before hooks of NORMAL priority, such as EMAHook, which may copy the weights.
    priority = 'VERY_HIGH'

    def __init__(
        self,
        teacher: str = 'teacher',
        grouped_inputs: Mapping[str, Mapping[str, Any]] | None = None,
        names: Mapping[str, str] | None = None,
        exclude: Sequence[str] = (),
    ) -> None:
        self.teacher = teacher
        self.grouped_inputs = dict(grouped_inputs or {})
        self.names = dict(names or {})
        self.exclude = tuple(exclude)
        self._resumes = False

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        self._resumes = bool(runner._resume)
        if not self._resumes and isinstance(runner._train_loop, BaseLoop):  # no test
            print_log(
                f'{type(self).__name__} overwrites what was loaded by the weights of the '
                f'{self.teacher}; remove the hook to start from a checkpoint of the student',
                logger='current',
                level=logging.WARNING,
            )

    def before_train(self, runner: Any) -> None:
        # Not in before_run: the runner initialises and loads weights behind it.
        if self._resumes:
            return
        distiller = find_distiller(runner, type(self).__name__)
        if distiller.student_checkpoint is not None:
            raise ValueError(
                f'the student begins with student.checkpoint={distiller.student_checkpoint!r}, '
                f'which {type(self).__name__} would overwrite by weights of the {self.teacher}: '
                'remove one of the two'
            )
        report = self.start(distiller)
        print_log(f'the student starts from the {self.teacher}:\n{report}', logger='current')
        if report.share < HALF_A_START:
            print_log(
                f'only {report.share:.0%} of the student are weights of the {self.teacher}, for '
                'the reasons above: it starts much as from random weights',
                logger='current',
                level=logging.WARNING,
            )

    def start(self, distiller: Distiller) -> InheritanceReport:
        """Give a distiller's student the teacher's weights, and say what it inherited.

        Raises:
            ValueError: There is no such teacher, or nothing can be inherited.
        """
        if self.teacher not in distiller.teachers:
            raise ValueError(
                f'{type(self).__name__} asks for teacher {self.teacher!r}; there is '
                f'{sorted(distiller.teachers)}'
            )
        teacher = distiller.teachers[self.teacher]
        teacher.load()
        derived = self.correspondence(distiller.student, teacher.model)
        config = dict.fromkeys(self.exclude, 'excluded by the config')
        return inherit(
            distiller.student,
            self.source(distiller.student, teacher.model),
            grouped_inputs={**derived.get('grouped_inputs', {}), **self.grouped_inputs},
            names={**derived.get('names', {}), **self.names},
            exclude={**derived.get('exclude', {}), **config},
            outputs=derived.get('outputs', {}),
        )

    def source(self, student: nn.Module, teacher: nn.Module) -> nn.Module:
        """Return the model whose first channels a student gets; here the teacher itself."""
        return teacher

    def correspondence(self, student: nn.Module, teacher: nn.Module) -> dict[str, Any]:
        """Return what of :func:`~mmdistill.inherit.inherit` the two models tell; here nothing.

        Subclasses that know a family of models override it; the config's entries come on top.
        """
        return {}
