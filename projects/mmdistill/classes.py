"""Classes of two models, joined by their names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn


def class_names(model: nn.Module | None) -> tuple[str, ...] | None:
    """Return a model's class names in the order of its labels; None where nobody told.

    They stand in ``model.dataset_meta['classes']``, where MMEngine's and MMDetection3D's own tools
    put them. :class:`~mmdistill.Teacher` takes them from its config and, when it is loaded, from
    its checkpoint; :class:`~mmdistill.hooks.DistillHook` takes the student's from the data set.
    """
    return meta_classes(getattr(model, 'dataset_meta', None))


def name_classes(model: nn.Module, names: Sequence[str] | None, source: str) -> None:
    """Tell a model its class names, where a source knows them; later sources count.

    Args:
        model: The model, whose ``dataset_meta`` is set.
        names: The names; ``None`` changes nothing.
        source: Where they come from, for the log.
    """
    before = class_names(model)
    if names is None or tuple(names) == before:
        return
    if before is not None:
        print_log(
            f'{type(model).__name__}: the classes are {list(names)} as of {source}, not '
            f'{list(before)} as said before',
            logger='current',
            level=logging.WARNING,
        )
    model.dataset_meta = {**(getattr(model, 'dataset_meta', None) or {}), 'classes': tuple(names)}


def meta_classes(meta: Any) -> tuple[str, ...] | None:
    """Return the class names in a data set's ``metainfo``, of MMEngine or as before it."""
    for key in ('classes', 'CLASSES'):
        names = meta.get(key) if isinstance(meta, Mapping) else None
        if names is not None:
            return (names,) if isinstance(names, str) else tuple(str(name) for name in names)
    return None


def checkpoint_classes(checkpoint: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the class names in a checkpoint's ``meta``."""
    meta = checkpoint.get('meta') or {}
    return meta_classes(meta.get('dataset_meta')) or meta_classes(meta)


def config_classes(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the class names that a whole config gives its data set, or ``class_names`` in it."""
    dataset = (config.get('train_dataloader') or {}).get('dataset') or {}
    while isinstance(dataset, Mapping):
        found = meta_classes(dataset.get('metainfo'))
        if found is not None:
            return found
        # Below a wrapper, or the first of a concatenation.
        dataset = dataset.get('dataset') or next(iter(dataset.get('datasets') or []), None)
    names = config.get('class_names')
    return meta_classes(config.get('metainfo')) or (tuple(names) if names else None)


@dataclass(frozen=True)
class ClassMap:
    """Which of a teacher's labels stands for each of a student's.

    Args:
        student: The student's class names in the order of its labels.
        teacher: The teacher's.

    Raises:
        ValueError: The lists have no name in common, or one names a class twice.
    """

    student: tuple[str, ...]
    teacher: tuple[str, ...]

    def __post_init__(self) -> None:
        for role, names in (('student', self.student), ('teacher', self.teacher)):
            if len(set(names)) != len(names):
                raise ValueError(f'the {role} names a class twice: {list(names)}')
        if not set(self.student) & set(self.teacher):
            raise ValueError(f'no class in common: {self}')

    @property
    def is_same(self) -> bool:
        """Whether both lists are the same, in the same order."""
        return self.student == self.teacher

    @property
    def missing(self) -> list[str]:
        """The student's classes that the teacher does not know."""
        return [name for name in self.student if name not in self.teacher]

    @property
    def teacher_labels(self) -> list[int]:
        """The teacher's label of each of the student's classes; -1 where it has none."""
        return [self.teacher.index(n) if n in self.teacher else -1 for n in self.student]

    @property
    def student_labels(self) -> list[int]:
        """The student's label of each of the teacher's classes; -1 where it has none."""
        return ClassMap(self.teacher, self.student).teacher_labels

    def demand_same(self, what: str) -> None:
        """Refuse other classes or another order.

        Raises:
            ValueError: The lists differ; the message gives both.
        """
        if not self.is_same:
            raise ValueError(f'{what} needs one list of classes in one order: {self}')

    def demand_all(self, what: str) -> None:
        """Refuse a teacher that does not know all of the student's classes.

        Raises:
            ValueError: Some are missing; the message gives both lists.
        """
        if self.missing:
            raise ValueError(f'{what} needs a teacher that knows {self.missing}: {self}')

    def __str__(self) -> str:
        return f'the student has the classes {list(self.student)}, the teacher {list(self.teacher)}'


class ClassColumns(nn.Module):
    """Brings what a teacher says of its classes into the student's order, by name.

    Until :meth:`join` tells the classes it leaves everything as it is. Its tensors lie where the
    loss lies, so that nothing waits for the device. They are no buffers: their length changes when
    the classes are told, which copies of a model (EMA) would not follow.
    """

    def __init__(self) -> None:
        super().__init__()
        self.classes: ClassMap | None = None
        self.teacher_labels = self.student_labels = torch.zeros(0, dtype=torch.long)

    def join(self, classes: ClassMap | None) -> None:
        """Take the classes of the two models; None where they are not known."""
        self.classes = None if classes is None or classes.is_same else classes
        for name in ('teacher_labels', 'student_labels'):
            labels = getattr(self.classes, name, [])
            setattr(self, name, torch.tensor(labels, device=self.teacher_labels.device).long())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ClassColumns:
        self.teacher_labels, self.student_labels = fn(self.teacher_labels), fn(self.student_labels)
        return super()._apply(fn, recurse)

    @property
    def changes(self) -> bool:
        """Whether the lists differ."""
        return self.classes is not None

    def forward(self, values: Tensor, dim: int = 1) -> Tensor:
        """Return the teacher's values of the student's classes along ``dim``.

        Those of a class that the teacher does not know are another's: :meth:`known` is 0 there.

        Raises:
            ValueError: There are not as many values as the teacher has classes.
        """
        if self.classes is None:
            return values
        if values.shape[dim] != len(self.classes.teacher):
            raise ValueError(
                f'{values.shape[dim]} class scores of the teacher are no list of its '
                f'{len(self.classes.teacher)} classes, so they cannot be joined by name: '
                f'{self.classes}'
            )
        return values.index_select(dim, self.teacher_labels.clamp(min=0))

    def known(self, like: Tensor) -> Tensor:
        """Return 1 for each of the student's classes that the teacher knows, else 0, ``(K,)``."""
        return (self.teacher_labels >= 0).to(like.dtype)

    def to_student(self, labels: Tensor) -> Tensor:
        """Return the student's labels of the teacher's; -1 for classes it has not."""
        return labels if self.classes is None else self.student_labels[labels]
