"""Memory-bank contrast of objects: a queue of embeddings for each class."""

from __future__ import annotations

import math

import torch
from mmengine import dist
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from mmdistill.contracts import SampleMemory
from mmdistill.losses.reduce import as_float
from mmdistill.memory.nce import noise_contrastive_loss

NEGATIVES = ('other_classes', 'all')


@MODELS.register_module()
class QueueMemory(SampleMemory):
    """Two banks with the newest embeddings of each class, and the contrast of objects with them.

    An object's student and teacher must agree, and differ from the other side's embeddings in the
    bank: the loss of CRD, in expectation over draws, with the object's own other side as positive.
    The bank has ``queue_length`` rows a class, which the objects of the global batch fill in turn
    before they are compared, so that they are negatives of each other, too. An object that has an
    instance number always takes the row ``instance % queue_length`` of its class and moves it by
    ``momentum``.

    Defined behaviour: each class counts alike, whatever its number of objects; a batch without
    objects gives a zero with a gradient; all ranks write the rows of the global batch, so banks
    stay equal; objects whose embedding is not finite give no loss, take no row and are counted in
    ``num_skipped``; objects of class -1 are left out.

    Source: Tian et al., "Contrastive Representation Distillation", ICLR 2020; queues of He et al.,
    "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020.

    Args:
        num_classes: Number of classes ``C``.
        embed_dims: Size ``D`` of the embeddings.
        queue_length: Rows a class.
        num_negatives: ``K``, the weight of all negatives together, spread over the rows.
        temperature: ``T``.
        momentum: Part of the old row that stays, where a row belongs to an instance.
        negatives: ``'other_classes'``, as in the published training, or ``'all'`` rows but those
            of the object itself.
        balance: Let each class count alike; else each object.
        max_objects: Objects of a rank that enter the banks in a step, when there are several ranks;
            a fixed number, so that ranks exchange them without waiting for the device.
    """

    counts_samples = False
    student_bank: Tensor
    teacher_bank: Tensor
    filled: Tensor
    row_instance: Tensor
    next_slot: Tensor
    num_skipped: Tensor

    def __init__(
        self,
        num_classes: int,
        embed_dims: int = 128,
        queue_length: int = 256,
        num_negatives: int = 1024,
        temperature: float = 0.07,
        momentum: float = 0.5,
        negatives: str = 'other_classes',
        balance: bool = True,
        max_objects: int = 512,
    ) -> None:
        super().__init__()
        if negatives not in NEGATIVES:
            raise ValueError(f'negatives is one of {NEGATIVES}, not {negatives!r}')
        if temperature <= 0 or not 0 <= momentum < 1 or num_negatives < 1:
            raise ValueError(
                f'need temperature > 0, 0 <= momentum < 1 and num_negatives >= 1; got '
                f'{temperature}, {momentum}, {num_negatives}'
            )
        if min(num_classes, queue_length, max_objects) < 1:
            raise ValueError(
                'num_classes, queue_length and max_objects are at least 1; got '
                f'{num_classes}, {queue_length}, {max_objects}'
            )
        self.num_classes, self.queue_length = num_classes, queue_length
        self.embed_dims, self.num_negatives = embed_dims, num_negatives
        self.temperature, self.momentum = temperature, momentum
        self.negatives, self.balance, self.max_objects = negatives, balance, max_objects
        rows = num_classes * queue_length
        self.register_buffer('student_bank', torch.zeros(rows, embed_dims))
        self.register_buffer('teacher_bank', torch.zeros(rows, embed_dims))
        self.register_buffer('filled', torch.zeros(rows, dtype=torch.bool))
        self.register_buffer('row_instance', torch.full((rows,), -1))
        self.register_buffer('next_slot', torch.zeros(num_classes, dtype=torch.long))
        self.register_buffer('num_skipped', torch.zeros((), dtype=torch.long))

    @property
    def num_rows(self) -> int:
        """Rows of each bank."""
        return self.num_classes * self.queue_length

    @property
    def banks(self) -> dict[str, Tensor]:
        """Both banks, ``(R, D)``."""
        return {name: getattr(self, name) for name in ('student_bank', 'teacher_bank')}

    @property
    def skipped(self) -> int:
        """Objects so far whose embedding was not finite."""
        return int(self.num_skipped)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        labels: Tensor,
        instances: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch's objects; first put them into the queues when training.

        Args:
            student: The student's embeddings ``(M, D)``, of unit length; ``M`` may be 0.
            teacher: The teacher's embeddings ``(M, D)``.
            labels: Class of each object, ``(M,)``; -1 leaves an object out.
            instances: Number of the thing that each object is, ``(M,)``, the same in all frames;
                -1 where it is not known.
            valid: Objects to use, ``(M,)``; others are treated like non-finite ones.

        Raises:
            ValueError: A label is none of the classes.
        """
        self._check_labels(labels)
        labels = labels.to(student.device, non_blocking=True)
        if instances is None:
            instances = torch.full_like(labels, -1)
        instances = instances.to(labels.device, labels.dtype, non_blocking=True)
        finite = student.isfinite().all(1) & teacher.isfinite().all(1)
        finite = finite if valid is None else finite & valid
        used = finite & (labels >= 0)
        student, teacher = (
            torch.where(used[:, None], as_float(part), 0) for part in (student, teacher)
        )
        slots = torch.full_like(labels, self.num_rows)
        if self.training:
            slots = self._enqueue(student.detach(), teacher.detach(), labels, instances, used)
        weights = self._weights(labels, instances, slots, student.dtype)
        loss = self._contrast(student, teacher, self.teacher_bank, weights)
        loss = loss + self._contrast(teacher, student, self.student_bank, weights)
        return (loss * self._shares(labels, finite, used, loss.dtype)).sum()

    def _contrast(
        self, anchors: Tensor, positives: Tensor, bank: Tensor, weights: Tensor
    ) -> Tensor:
        # exp(s / T) of unrelated embeddings has this mean; the number of rows cancels in the loss.
        log_mean = 1 / (2 * self.embed_dims * self.temperature**2)
        return noise_contrastive_loss(
            anchors,
            bank,
            None,
            self.num_negatives,
            self.temperature,
            log_mean + math.log(self.num_rows),
            counts=weights,
            positives=positives,
        )

    def _weights(
        self, labels: Tensor, instances: Tensor, slots: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """Weight of each row as a negative of each object, ``(M, R)``."""
        rows = torch.arange(self.num_rows, device=labels.device)
        allowed = self.filled & (rows != slots[:, None])
        allowed &= (self.row_instance != instances[:, None]) | (instances[:, None] < 0)
        if self.negatives == 'other_classes':
            allowed &= rows // self.queue_length != labels[:, None]
        weights = allowed.to(dtype)
        return weights * (self.num_negatives / weights.sum(1, keepdim=True).clamp(min=1))

    def _shares(self, labels: Tensor, finite: Tensor, used: Tensor, dtype: torch.dtype) -> Tensor:
        """Weight of each object's loss, ``(M,)``: with those of all ranks, a mean."""
        one_hot = (labels[:, None] == torch.arange(self.num_classes, device=labels.device)) & used[
            :, None
        ]
        skipped = (~finite & (labels >= 0)).sum()
        counts = torch.cat([one_hot.sum(0), skipped[None]])
        if dist.get_world_size() > 1:
            dist.all_reduce(counts)
        counts, skipped = counts[:-1], counts[-1]
        if self.training:
            self.num_skipped += skipped
        if self.balance:
            divisor = counts[labels.clamp(min=0)] * (counts > 0).sum()
        else:
            divisor = counts.sum().expand_as(labels)
        # DDP averages gradients over ranks; this weight makes that the mean over all objects.
        return dist.get_world_size() * used.to(dtype) / divisor.clamp(min=1)

    @torch.no_grad()
    def _enqueue(
        self, student: Tensor, teacher: Tensor, labels: Tensor, instances: Tensor, used: Tensor
    ) -> Tensor:
        """Write the global batch into the banks; return the row of each own object, or ``R``."""
        keys = torch.stack([labels, instances, used.long()], dim=1)
        both = torch.cat([student, teacher], dim=1)
        all_keys, own = _gather(keys, self.max_objects)
        all_both, _ = _gather(both, self.max_objects)
        if len(all_keys) == 0:
            return labels
        slots = self._take_slots(all_keys[:, 0], all_keys[:, 1], all_keys[:, 2] > 0)
        # The last of several objects that take one row wins, on every device.
        winner = torch.full((self.num_rows + 1,), -1, device=labels.device)
        order = torch.arange(len(slots), device=labels.device)
        winner = winner.scatter_reduce(0, slots, order, 'amax')[:-1]
        taken, winner = winner >= 0, winner.clamp(min=0)
        instance = all_keys[winner, 1]
        stays = taken & (instance >= 0) & (self.row_instance == instance)
        for bank, new in zip(
            (self.student_bank, self.teacher_bank), all_both[winner].chunk(2, dim=1), strict=True
        ):
            old = bank.to(new.dtype)
            moved = F.normalize(self.momentum * old + (1 - self.momentum) * new, dim=1)
            new = torch.where(stays[:, None], moved, new)
            bank.copy_(torch.where(taken[:, None], new, old))
        self.row_instance.copy_(torch.where(taken, instance, self.row_instance))
        self.filled |= taken
        # Objects beyond `max_objects` have no row.
        return F.pad(slots[own], (0, len(labels) - (own.stop - own.start)), value=self.num_rows)

    def _take_slots(self, labels: Tensor, instances: Tensor, used: Tensor) -> Tensor:
        """Row of each object of the global batch, ``R`` for none; moves the ends of the queues."""
        classes = torch.arange(self.num_classes, device=labels.device)
        queued = (labels[:, None] == classes) & (used & (instances < 0))[:, None]
        counts = queued.sum(0)
        labels = labels.clamp(min=0)
        position = (queued.cumsum(0) * queued).sum(1) - 1
        # Of more objects than the queue has rows, the last stay.
        used = used & ((instances >= 0) | (position >= counts[labels] - self.queue_length))
        slot = torch.where(instances >= 0, instances, self.next_slot[labels] + position)
        self.next_slot.copy_((self.next_slot + counts) % self.queue_length)
        row = labels * self.queue_length + slot % self.queue_length
        return torch.where(used, row, self.num_rows)

    def _check_labels(self, labels: Tensor) -> None:
        # On a device the comparison would wait for it; there, indexing by the label fails.
        if labels.device.type == 'cpu' and len(labels) and int(labels.max()) >= self.num_classes:
            raise ValueError(
                f'label {int(labels.max())} is none of num_classes={self.num_classes}; correct '
                'num_classes'
            )


def _gather(rows: Tensor, capacity: int) -> tuple[Tensor, slice]:
    """Concatenate the ranks' rows, padded with zeros; return also which are the own.

    Args:
        rows: ``(M, ...)``, with another ``M`` on each rank.
        capacity: Rows that a rank sends; further ones are left out.

    Returns:
        ``(ranks * capacity, ...)``; the rows as they are when there is one rank.
    """
    if dist.get_world_size() == 1:
        return rows, slice(0, len(rows))
    rows = rows[:capacity]
    first = dist.get_rank() * capacity
    padded = F.pad(rows, (0, 0, 0, capacity - len(rows)))
    return torch.cat(dist.all_gather(padded)), slice(first, first + len(rows))
