"""Memory-bank contrast of CRD."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine import dist
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmdistill.memory.nce import noise_contrastive_loss

FORMS = ('marginal', 'exact')
POSITIVES = ('row', 'current')


@MODELS.register_module()
class ContrastMemory(nn.Module):
    """Two banks with an embedding of every sample, and the contrast of a batch with them.

    The student's embeddings are anchors against the teacher's bank and the other way round. After
    the loss, the rows of the batch's samples move towards the new embeddings by ``momentum`` and
    are scaled to unit length. Rows are keyed by the data set's own index, and all ranks apply the
    updates of the whole global batch, so banks stay equal.

    Defined behaviour: an index that occurs several times in a batch moves its row once, towards
    the mean; a sample whose embedding is not finite gives no loss, leaves its row and is counted in
    ``num_skipped``.

    Source: Tian et al., "Contrastive Representation Distillation", ICLR 2020.

    Args:
        embed_dims: Size ``D`` of the embeddings.
        num_negatives: ``K``, the negatives of each anchor.
        temperature: ``T``.
        momentum: Part of the old row that stays.
        form: ``'marginal'``, the expectation over all draws, or ``'exact'``, ``K`` rows drawn
            uniformly, never the anchor's own.
        positive: What an anchor must agree with: ``'row'``, the own row of the bank as published,
            which is random until the sample's second visit, or ``'current'``, the other side's
            embedding of this step.
        rows_per_sample: Rows of each sample, where parts of a sample are contrasted.
        num_samples: Length of the data set; normally left to
            :class:`~mmdistill.hooks.DistillHook`, which reads it.
        chunk_size: Rows of a bank that are compared at a time, which bounds the memory.
    """

    student_bank: Tensor
    teacher_bank: Tensor
    num_skipped: Tensor

    def __init__(
        self,
        embed_dims: int = 128,
        num_negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        form: str = 'marginal',
        positive: str = 'row',
        rows_per_sample: int = 1,
        num_samples: int | None = None,
        chunk_size: int = 16384,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f'form is one of {FORMS}, not {form!r}')
        if positive not in POSITIVES:
            raise ValueError(f'positive is one of {POSITIVES}, not {positive!r}')
        if temperature <= 0 or not 0 <= momentum < 1 or num_negatives < 1:
            raise ValueError(
                f'need temperature > 0, 0 <= momentum < 1 and num_negatives >= 1; got '
                f'{temperature}, {momentum}, {num_negatives}'
            )
        self.embed_dims = embed_dims
        self.num_negatives = num_negatives
        self.temperature = temperature
        self.momentum = momentum
        self.form, self.positive = form, positive
        self.rows_per_sample = rows_per_sample
        self.chunk_size = chunk_size
        self.register_buffer('student_bank', torch.empty(0, embed_dims))
        self.register_buffer('teacher_bank', torch.empty(0, embed_dims))
        self.register_buffer('num_skipped', torch.zeros((), dtype=torch.long))
        if num_samples is not None:
            self.set_num_samples(num_samples)

    @property
    def num_rows(self) -> int:
        """Rows ``N`` of each bank; 0 before the length of the data set is known."""
        return self.student_bank.shape[0]

    @property
    def num_samples(self) -> int:
        """Length of the data set; 0 before it is known."""
        return self.num_rows // self.rows_per_sample

    def set_num_samples(self, num_samples: int) -> None:
        """Give the banks their rows for each sample, drawn alike on every rank."""
        if self.num_samples not in (0, num_samples):
            raise ValueError(
                f'the banks have {self.num_samples} rows, the data set has {num_samples} samples: '
                'continue with the data set that the run began with'
            )
        if self.num_samples == 0:
            # The published initialisation: uniform, so that rows have unit length on average.
            draws = torch.Generator().manual_seed(0)
            bound = (3 / self.embed_dims) ** 0.5
            for name in ('student_bank', 'teacher_bank'):
                rows = torch.empty(num_samples * self.rows_per_sample, self.embed_dims).uniform_(
                    -bound, bound, generator=draws
                )
                setattr(self, name, rows.to(getattr(self, name)))

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        index: Tensor,
        negatives: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch, and move the batch's rows when in training mode.

        Args:
            student: The student's embeddings ``(B, D)``, of unit length.
            teacher: The teacher's embeddings ``(B, D)``.
            index: Row of each sample, ``(B,)``, on the CPU: its index in the data set, or
                ``index * rows_per_sample + part``.
            negatives: Rows to use as negatives, ``(B, K)``, instead of the ``form``'s.
            valid: Samples to use, ``(B,)``; others are treated like non-finite ones.

        Raises:
            IndexError: An index lies outside the data set.
            RuntimeError: Nobody told the length of the data set.
        """
        self._check_index(index)
        index = index.to(student.device)
        finite = student.isfinite().all(1) & teacher.isfinite().all(1)
        finite = finite if valid is None else finite & valid
        student = torch.where(finite[:, None], student, 0)
        teacher = torch.where(finite[:, None], teacher, 0)
        counts = self._counts(index, negatives)
        loss = self._contrast(student, teacher, self.teacher_bank, index, counts)
        loss = loss + self._contrast(teacher, student, self.student_bank, index, counts)
        if self.training:
            self._update(student.detach(), teacher.detach(), index, finite)
        return (loss * finite).sum() / finite.sum().clamp(min=1)

    def _contrast(
        self, anchors: Tensor, others: Tensor, bank: Tensor, index: Tensor, counts: Any
    ) -> Tensor:
        # exp(s / T) of a random row has this mean: rows of a fresh bank have variance 1 / D.
        log_mean = 1 / (2 * self.embed_dims * self.temperature**2)
        return noise_contrastive_loss(
            anchors,
            bank,
            index,
            self.num_negatives,
            self.temperature,
            log_mean + math.log(self.num_rows),
            counts,
            self.chunk_size,
            others if self.positive == 'current' else None,
        )

    def _counts(self, index: Tensor, negatives: Tensor | None) -> Tensor | None:
        """Draws of each row, ``(B, N)``; ``None`` stands for the expectation."""
        if negatives is None and self.form == 'marginal':
            return None
        if negatives is None:
            shape = (len(index), self.num_negatives)
            others = max(self.num_rows - 1, 1)
            negatives = torch.randint(others, shape, device=index.device)
            negatives += negatives >= index[:, None]
            negatives %= self.num_rows
        counts = self.student_bank.new_zeros(len(index), self.num_rows)
        return counts.scatter_add_(1, negatives, counts.new_ones(negatives.shape))

    @torch.no_grad()
    def _update(self, student: Tensor, teacher: Tensor, index: Tensor, finite: Tensor) -> None:
        with torch.autocast(student.device.type, enabled=False):
            self._move_rows(student, teacher, index, finite)

    def _move_rows(self, student: Tensor, teacher: Tensor, index: Tensor, finite: Tensor) -> None:
        student, teacher, index, finite = (
            torch.cat(dist.all_gather(part)) for part in (student, teacher, index, finite)
        )
        self.num_skipped += (~finite).sum()
        # Equal indices average their embeddings and then all write the same row.
        same = (index[:, None] == index[None, :]) & finite[None, :]
        share = same.to(student.dtype) / same.sum(1, keepdim=True).clamp(min=1)
        known = same.any(1, keepdim=True)
        for bank, embedding in ((self.student_bank, student), (self.teacher_bank, teacher)):
            old = bank[index].to(embedding.dtype)
            moved = self.momentum * old + (1 - self.momentum) * (share @ embedding)
            bank[index] = torch.where(known, F.normalize(moved, dim=1), old).to(bank.dtype)

    def _check_index(self, index: Tensor) -> None:
        if self.num_samples == 0:
            raise RuntimeError(
                'the memory bank does not know the length of the data set: add '
                "custom_hooks = [dict(type='DistillHook')] to the config"
            )
        if len(index) and (int(index.min()) < 0 or int(index.max()) >= self.num_rows):
            sample_idx = (index // self.rows_per_sample).unique().tolist()
            raise IndexError(
                f'sample_idx {sample_idx} lies outside the data set of {self.num_samples} '
                'samples; sample_idx must be the index in the data set under all wrappers'
            )

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        """Take over the size of stored banks when there is no data set, as in testing."""
        stored = state_dict.get(prefix + 'student_bank')
        if self.num_samples == 0 and stored is not None:
            self.set_num_samples(stored.shape[0] // self.rows_per_sample)
        super()._load_from_state_dict(state_dict, prefix, *args)
