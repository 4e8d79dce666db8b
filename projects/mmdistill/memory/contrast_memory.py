"""Memory-bank contrast of CRD."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from mmengine.registry import MODELS
from torch import Tensor

from mmdistill.losses.reduce import as_float
from mmdistill.memory.banks import SampleBanks
from mmdistill.memory.batch import Batch
from mmdistill.memory.nce import (
    Terms,
    attach_gradient,
    drawn_terms,
    log_sum_exp,
    negative_terms,
    positive_terms,
    score_constant,
    score_offset,
    without_row,
)
from mmdistill.memory.weights import draw_weights, factor_to, row_weights

FORMS = ('marginal', 'exact', 'shared')
POSITIVES = ('row', 'current')
NORMALISERS = ('analytic', 'first_batch')
OTHER = {'student': 'teacher', 'teacher': 'student'}

# Up to so many anchors, gathering as many rows as a bank has takes no longer than to score all of
# its rows, each of which is read once for all anchors.
_GATHER_UP_TO = 16
# Weights of rows for anchors that are held at a time: 16 MiB in float32.
_BLOCK_NUMBERS = 1 << 22


@MODELS.register_module()
class ContrastMemory(SampleBanks):
    """Two banks with an embedding of every sample, and the contrast of a batch with them.

    The student's embeddings are anchors against the teacher's bank and the other way round. After
    the loss, the rows of the batch's samples move towards the new embeddings by ``momentum`` and
    are scaled to unit length. Rows are keyed by the data set's own index, and all ranks apply the
    updates of the whole global batch, so banks stay equal.

    Defined behaviour: an index that occurs several times in a batch moves its row once, towards
    the mean; a sample whose embedding is not finite gives no loss, leaves its row and is counted in
    ``num_skipped``; an anchor's own row is never its negative. Ranks need batches of one size.

    Source: Tian et al., "Contrastive Representation Distillation", ICLR 2020.

    Args:
        embed_dims: Size ``D`` of the embeddings.
        num_negatives: ``K``, the negatives of each anchor.
        temperature: ``T``.
        momentum: Part of the old row that stays.
        form: ``'marginal'``, the expectation over all draws; ``'exact'``, ``K`` rows drawn for each
            anchor; ``'shared'``, ``K`` rows drawn for the batch, for very long banks.
        positive: What an anchor must agree with: ``'row'``, the own row of the bank as published,
            which is random until the sample's second visit, or ``'current'``, the other side's
            embedding of this step.
        exclude_same_class: Leave rows of the anchor's class out of its negatives, as the published
            training does; needs ``labels``. A row's class is known from its first visit on; rows
            and anchors without one count as negatives of all.
        normaliser: ``Z``: ``'analytic'``, that of a fresh bank; ``'first_batch'``, as published, of
            the first batch that is finite.
        bank_dtype: ``'float32'``, or ``'bfloat16'``, which halves the banks.
        shard: Keep a part of the rows on each rank. Loss and updates are the same; a checkpoint
            needs :meth:`gather`, which :class:`~mmdistill.hooks.DistillHook` calls.
        rows_per_sample: Rows of each sample, where parts of a sample are contrasted.
        num_samples: Length of the data set; normally left to
            :class:`~mmdistill.hooks.DistillHook`, which reads it.
        chunk_size: Rows of a bank that are compared at a time, which bounds the memory to a few
            times ``B * chunk_size`` numbers, and 16 MiB for weights of rows; default 4096 on a CPU,
            for its caches, and 32768 elsewhere.
    """

    num_skipped: Tensor

    def __init__(
        self,
        embed_dims: int = 128,
        num_negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        form: str = 'marginal',
        positive: str = 'row',
        exclude_same_class: bool = False,
        normaliser: str = 'analytic',
        bank_dtype: str = 'float32',
        shard: bool = False,
        rows_per_sample: int = 1,
        num_samples: int | None = None,
        chunk_size: int | None = None,
    ) -> None:
        for name, value, known in (
            ('form', form, FORMS),
            ('positive', positive, POSITIVES),
            ('normaliser', normaliser, NORMALISERS),
        ):
            if value not in known:
                raise ValueError(f'{name} is one of {known}, not {value!r}')
        if temperature <= 0 or not 0 <= momentum < 1 or num_negatives < 1:
            raise ValueError(
                f'need temperature > 0, 0 <= momentum < 1 and num_negatives >= 1; got '
                f'{temperature}, {momentum}, {num_negatives}'
            )
        super().__init__(
            embed_dims, rows_per_sample, bank_dtype, shard, exclude_same_class, num_samples
        )
        self.num_negatives, self.chunk_size = num_negatives, chunk_size
        self.temperature, self.momentum = temperature, momentum
        self.form, self.positive, self.normaliser = form, positive, normaliser
        self.exclude_same_class = exclude_same_class
        if normaliser != 'analytic':
            for side in OTHER:
                self.register_buffer(f'{side}_log_mean', torch.tensor(math.nan))
        self.register_buffer('num_skipped', torch.zeros((), dtype=torch.long))

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        index: Tensor,
        negatives: Tensor | None = None,
        valid: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch, and move the batch's rows when in training mode.

        Args:
            student: The student's embeddings ``(B, D)``, of unit length.
            teacher: The teacher's embeddings ``(B, D)``.
            index: Row of each sample, ``(B,)``, on the CPU: its index in the data set, or
                ``index * rows_per_sample + part``.
            negatives: Rows to use as negatives, ``(B, K)``, instead of the ``form``'s; the own row
                among them does not count.
            valid: Samples to use, ``(B,)``; others are treated like non-finite ones.
            labels: Class of each sample, ``(B,)``, for ``exclude_same_class``; -1 for none.

        Raises:
            IndexError: An index lies outside the data set.
            RuntimeError: Nobody told the length of the data set.
            ValueError: ``exclude_same_class`` without ``labels``.
        """
        self._check(index, labels)
        index = index.to(student.device, non_blocking=True)
        finite = student.isfinite().all(1) & teacher.isfinite().all(1)
        finite = finite if valid is None else finite & valid
        student, teacher = (
            torch.where(finite[:, None], as_float(part), 0) for part in (student, teacher)
        )
        own = Batch(
            student.detach(),
            teacher.detach(),
            index,
            finite,
            self._classes(labels, index),
            self._draw(index) if negatives is None else negatives,
        )
        everyone = own
        if self.training or self._is_sharded():
            everyone = own.gather(with_draws=self._is_sharded())
        # Where one block holds all anchors, both banks share its weights.
        group = everyone if self._is_sharded() else own
        weigh = functools.lru_cache(maxsize=1)(functools.partial(self._weights, group))
        loss = self._contrast(student, teacher, 'student', own, everyone, weigh)
        loss = loss + self._contrast(teacher, student, 'teacher', own, everyone, weigh)
        if self.training:
            self.num_skipped += (~everyone.finite).sum()
            self._move_rows(everyone, self.momentum)
        return (loss * finite).sum() / finite.sum().clamp(min=1)

    @property
    def skipped(self) -> int:
        """Samples so far whose embedding was not finite."""
        return int(self.num_skipped)

    def _check(self, index: Tensor, labels: Tensor | None) -> None:
        self._check_rows(index)
        if self.exclude_same_class and labels is None:
            raise ValueError(
                'exclude_same_class needs the class of each sample: name the key of the data '
                "samples, granularity=dict(type='scene', label_key='gt_label')"
            )

    def _classes(self, labels: Tensor | None, index: Tensor) -> Tensor | None:
        if not self.exclude_same_class:
            return None
        labels = labels.to(index.device, index.dtype, non_blocking=True)
        # -1 marks rows whose class is not known yet; a sample without a class must not match them.
        return torch.where(labels < 0, -2, labels)

    def _draw(self, index: Tensor) -> Tensor | None:
        """Rows drawn uniformly, never the anchor's own; ``None`` stands for the expectation."""
        if self.form == 'marginal':
            return None
        if self.form == 'shared':
            return torch.randint(self.num_rows, (self.num_negatives,), device=index.device)
        others = max(self.num_rows - 1, 1)
        draws = torch.randint(others, (len(index), self.num_negatives), device=index.device)
        return (draws + (draws >= index[:, None])) % self.num_rows

    def _contrast(
        self,
        anchors: Tensor,
        others: Tensor,
        side: str,
        own: Batch,
        everyone: Batch,
        weigh: Callable[[int], Tensor],
    ) -> Tensor:
        """Loss ``(B,)`` of one side's anchors against the other side's bank."""
        total, scale = self.num_negatives, 1 / self.temperature
        with torch.no_grad(), torch.autocast(anchors.device.type, enabled=False):
            v = anchors.detach()
            log_z = self._log_mean(side, everyone) + math.log(self.num_rows)
            offset = score_offset(total, self.num_rows, log_z)
            own_rows = self._look_up(OTHER[side], own, everyone)
            terms = self._negatives(side, own, everyone, own_rows, offset, weigh)
            positives = others.detach() if self.positive == 'current' else own_rows
            terms = terms.plus(positive_terms(v, positives, scale, offset))
        return attach_gradient(anchors, terms) + score_constant(total, self.num_rows)

    def _log_mean(self, side: str, everyone: Batch) -> float | Tensor:
        """Return ``log(Z / N)`` of one side's anchors, observed first where that is asked for."""
        # exp(s / T) of a random row has this mean: rows of a fresh bank have variance 1 / D.
        analytic = 1 / (2 * self.embed_dims * self.temperature**2)
        if self.normaliser == 'analytic':
            return analytic
        stored = getattr(self, f'{side}_log_mean')
        if self.training:
            observed = self._observe(side, everyone)
            stored.copy_(torch.where(stored.isfinite() | ~observed.isfinite(), stored, observed))
        return torch.where(stored.isfinite(), stored, analytic)

    def _observe(self, side: str, everyone: Batch) -> Tensor:
        """Return ``log(Z / N)`` of the global batch; not finite if none of its samples is."""
        bank = self._bank(OTHER[side])
        sums = log_sum_exp(getattr(everyone, side), bank, 1 / self.temperature, self._chunk(bank))
        sums = self._log_sum_over_shards(sums)
        sums = torch.where(everyone.finite, sums, -math.inf)
        count = everyone.finite.sum().to(sums.dtype)
        return torch.logsumexp(sums, 0) - count.log() - math.log(self.num_rows)

    def _negatives(
        self,
        side: str,
        own: Batch,
        everyone: Batch,
        own_rows: Tensor,
        offset: float | Tensor,
        weigh: Callable[[int], Tensor],
    ) -> Terms:
        """Sum over the other side's bank, whose rows weigh ``K`` together for each anchor."""
        scale, total, chunk = 1 / self.temperature, self.num_negatives, self._chunk(own.index)
        group = everyone if self._is_sharded() else own
        v, bank = getattr(group, side), self._bank(OTHER[side])
        if group.draws is None and group.labels is None:
            terms = negative_terms(v, bank, scale, offset, None, chunk)
            terms = Terms(*self._over_shards(len(own.index), *terms))
            terms = without_row(terms, getattr(own, side), own_rows, scale, offset)
            return terms.times(total / max(self.num_rows - 1, 1))
        if self._gathers(group.draws):
            weights = draw_weights(group.index, group.draws, v.dtype, group.labels, self.row_labels)
            if group.draws.dim() == 1:
                rows = bank.index_select(0, group.draws)
                terms = negative_terms(v, rows, scale, offset, weights, chunk)
            else:
                terms = drawn_terms(v, bank, group.draws, scale, offset, weights, chunk)
            return terms.times(factor_to(total, weights.sum(1)))
        parts, sums = [], []
        for start in range(0, len(v), self._block()):
            weights = weigh(start)
            anchors = v[start : start + self._block()]
            parts.append(negative_terms(anchors, bank, scale, offset, weights, chunk))
            sums.append(weights.sum(1))
        terms = Terms(*(torch.cat(items) for items in zip(*parts, strict=True)))
        *terms, sums = self._over_shards(len(own.index), *terms, torch.cat(sums))
        return Terms(*terms).times(factor_to(total, sums))

    def _gathers(self, draws: Tensor | None) -> bool:
        """Whether drawn rows are gathered, not counted among all rows."""
        if draws is None or self._is_sharded():
            return False
        return draws.dim() == 1 or self.num_rows > min(len(draws), _GATHER_UP_TO) * draws.shape[1]

    def _block(self) -> int:
        """Anchors whose weights of all rows of this rank are held at a time."""
        return max(1, _BLOCK_NUMBERS // max(self._rows_a_rank(), 1))

    def _weights(self, group: Batch, start: int) -> Tensor:
        """Weights of this rank's rows for a block of anchors from ``start`` on."""
        part = slice(start, start + self._block())
        return row_weights(
            group.index[part],
            len(self._bank('student')),
            group.student.dtype,
            None if group.draws is None else group.draws[part],
            None if group.labels is None else group.labels[part],
            self._own_labels(),
            self._first_row() if self._is_sharded() else None,
        )

    def _chunk(self, like: Tensor) -> int:
        return self.chunk_size or (4096 if like.device.type == 'cpu' else 32768)
