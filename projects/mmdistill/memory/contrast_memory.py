"""Memory-bank contrast of CRD."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from mmengine import dist
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmdistill.losses.reduce import as_float
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
NORMALISERS = ('analytic', 'running', 'first_batch')
BANK_DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}
BANKS = ('student_bank', 'teacher_bank')

# With this many rows a draw, gathering the drawn rows is faster than scoring all of them.
_GATHER_FROM = 16
# Weights of rows for anchors that are held at a time: 16 MiB in float32.
_BLOCK_NUMBERS = 1 << 22
# Part of the old normaliser that a running one keeps.
_RUNNING = 0.9


@MODELS.register_module()
class ContrastMemory(nn.Module):
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
        batch_negatives: Take the other embeddings of the global batch as further negatives, each
            of the weight of one draw.
        normaliser: ``Z``: ``'analytic'``, that of a fresh bank; ``'running'``, an average over
            batches; ``'first_batch'``, as published, of the first batch that is finite.
        bank_dtype: ``'float32'``, or ``'bfloat16'``, which halves the banks.
        shard: Keep a part of the rows on each rank. Loss and updates are the same; a checkpoint
            needs :meth:`gather_whole`, which :class:`~mmdistill.hooks.DistillHook` calls.
        rows_per_sample: Rows of each sample, where parts of a sample are contrasted.
        num_samples: Length of the data set; normally left to
            :class:`~mmdistill.hooks.DistillHook`, which reads it.
        chunk_size: Rows of a bank that are compared at a time, which bounds the memory to a few
            times ``B * chunk_size`` numbers, and 16 MiB for weights of rows; default 4096 on a CPU,
            for its caches, and 32768 elsewhere.
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
        exclude_same_class: bool = False,
        batch_negatives: bool = False,
        normaliser: str = 'analytic',
        bank_dtype: str = 'float32',
        shard: bool = False,
        rows_per_sample: int = 1,
        num_samples: int | None = None,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        for name, value, known in (
            ('form', form, FORMS),
            ('positive', positive, POSITIVES),
            ('normaliser', normaliser, NORMALISERS),
            ('bank_dtype', bank_dtype, tuple(BANK_DTYPES)),
        ):
            if value not in known:
                raise ValueError(f'{name} is one of {known}, not {value!r}')
        if temperature <= 0 or not 0 <= momentum < 1 or num_negatives < 1:
            raise ValueError(
                f'need temperature > 0, 0 <= momentum < 1 and num_negatives >= 1; got '
                f'{temperature}, {momentum}, {num_negatives}'
            )
        self.embed_dims, self.num_negatives = embed_dims, num_negatives
        self.temperature, self.momentum = temperature, momentum
        self.form, self.positive, self.normaliser = form, positive, normaliser
        self.exclude_same_class, self.batch_negatives = exclude_same_class, batch_negatives
        self.shard, self.rows_per_sample, self.chunk_size = shard, rows_per_sample, chunk_size
        self.num_rows = 0
        self._whole: dict[str, Tensor] = {}
        for name in BANKS:
            self.register_buffer(name, torch.empty(0, embed_dims, dtype=BANK_DTYPES[bank_dtype]))
        if normaliser != 'analytic':
            for side in ('student', 'teacher'):
                self.register_buffer(f'{side}_log_mean', torch.tensor(math.nan))
        if exclude_same_class:
            self.register_buffer('row_labels', torch.empty(0, dtype=torch.long))
        self.register_buffer('num_skipped', torch.zeros((), dtype=torch.long))
        if num_samples is not None:
            self.set_num_samples(num_samples)

    @property
    def num_samples(self) -> int:
        """Length of the data set; 0 before it is known."""
        return self.num_rows // self.rows_per_sample

    def set_num_samples(self, num_samples: int) -> None:
        """Give the banks their rows for each sample, drawn alike on every rank."""
        if self.num_samples not in (0, num_samples):
            raise ValueError(
                f'the banks have {self.num_rows} rows, the data set has {num_samples} samples: '
                'continue with the data set that the run began with'
            )
        if self.num_rows:
            return
        self.num_rows = num_samples * self.rows_per_sample
        # The published initialisation: uniform, so that rows have unit length on average.
        draws = torch.Generator().manual_seed(0)
        bound = (3 / self.embed_dims) ** 0.5
        for name in BANKS:
            rows = torch.empty(self.num_rows, self.embed_dims)
            self._set_rows(name, rows.uniform_(-bound, bound, generator=draws))
        if self.exclude_same_class:
            self.row_labels = self.row_labels.new_full((self.num_rows,), -1)

    # ------------------------------------------------------------------ loss
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
        if self.training or self.batch_negatives or self._is_sharded():
            everyone = own.gather(with_draws=self._is_sharded())
        # Where one block holds all anchors, both banks share its weights.
        group = everyone if self._is_sharded() else own
        weigh = functools.lru_cache(maxsize=1)(functools.partial(self._weights, group))
        loss = self._contrast(student, teacher, 'student', own, everyone, weigh)
        loss = loss + self._contrast(teacher, student, 'teacher', own, everyone, weigh)
        if self.training:
            self._update(everyone)
        return (loss * finite).sum() / finite.sum().clamp(min=1)

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
        other = 'teacher' if side == 'student' else 'student'
        extra = len(everyone.index) - 1 if self.batch_negatives else 0
        total, scale = self.num_negatives + extra, 1 / self.temperature
        with torch.no_grad(), torch.autocast(anchors.device.type, enabled=False):
            v = anchors.detach()
            log_z = self._log_mean(side, everyone) + math.log(self.num_rows)
            offset = score_offset(total, self.num_rows, log_z)
            own_rows = self._look_up(f'{other}_bank', own, everyone)
            terms = self._negatives(side, own, everyone, own_rows, offset, weigh)
            if extra:
                weights = own.differs_from(everyone).to(v.dtype)
                fresh = negative_terms(v, getattr(everyone, other), scale, offset, weights)
                terms = terms.plus(fresh.times(factor_to(extra, weights.sum(1))))
            positives = others.detach() if self.positive == 'current' else own_rows
            terms = terms.plus(positive_terms(v, positives, scale, offset))
        return attach_gradient(anchors, terms) + score_constant(total, self.num_rows)

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
        v, bank = getattr(group, side), self._bank_against(side)
        if group.draws is None and group.labels is None:
            terms = negative_terms(v, bank, scale, offset, None, chunk)
            terms = Terms(*self._over_shards(len(own.index), *terms))
            terms = without_row(terms, getattr(own, side), own_rows, scale, offset)
            return terms.times(total / max(self.num_rows - 1, 1))
        if self._gathers(group.draws):
            weights = draw_weights(group.index, group.draws, v.dtype, group.labels, self._labels())
            if group.draws.dim() == 1:
                rows = bank.index_select(0, group.draws)
                terms = negative_terms(v, rows, scale, offset, weights, chunk)
            else:
                terms = drawn_terms(v, bank, group.draws, scale, offset, weights)
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
        return draws.dim() == 1 or self.num_rows > _GATHER_FROM * draws.shape[1]

    def _block(self) -> int:
        """Anchors whose weights of all rows of this rank are held at a time."""
        return max(1, _BLOCK_NUMBERS // max(self._rows_a_rank(), 1))

    def _weights(self, group: Batch, start: int) -> Tensor:
        """Weights of this rank's rows for a block of anchors from ``start`` on."""
        part = slice(start, start + self._block())
        labels, rows, first = self._labels(), self.num_rows, None
        if self._is_sharded():
            rows, first = len(self.student_bank) - 1, self._first_row()
            labels = None if labels is None else labels[first : first + rows]
        return row_weights(
            group.index[part],
            rows,
            group.student.dtype,
            None if group.draws is None else group.draws[part],
            None if group.labels is None else group.labels[part],
            labels,
            first,
        )

    def _log_mean(self, side: str, everyone: Batch) -> float | Tensor:
        """Return ``log(Z / N)`` of one side's anchors, observed first where that is asked for."""
        # exp(s / T) of a random row has this mean: rows of a fresh bank have variance 1 / D.
        analytic = 1 / (2 * self.embed_dims * self.temperature**2)
        if self.normaliser == 'analytic':
            return analytic
        stored = getattr(self, f'{side}_log_mean')
        if self.training:
            observed, new = self._observe(side, everyone), stored
            if self.normaliser == 'running':
                new = torch.logaddexp(
                    stored + math.log(_RUNNING), observed + math.log(1 - _RUNNING)
                )
            new = torch.where(stored.isfinite(), new, observed)
            stored.copy_(torch.where(new.isfinite(), new, stored))
        return torch.where(stored.isfinite(), stored, analytic)

    def _observe(self, side: str, everyone: Batch) -> Tensor:
        """Return ``log(Z / N)`` of the global batch; not finite if none of its samples is."""
        bank = self._bank_against(side)
        sums = log_sum_exp(getattr(everyone, side), bank, 1 / self.temperature, self._chunk(bank))
        if self._is_sharded():
            sums = torch.logsumexp(torch.stack(dist.all_gather(sums)), 0)
        sums = torch.where(everyone.finite, sums, -math.inf)
        count = everyone.finite.sum().to(sums.dtype)
        return torch.logsumexp(sums, 0) - count.log() - math.log(self.num_rows)

    # ------------------------------------------------------------------ rows
    @torch.no_grad()
    def _update(self, everyone: Batch) -> None:
        """Move the rows of the global batch."""
        self._whole.clear()
        index, finite = everyone.index, everyone.finite
        self.num_skipped += (~finite).sum()
        # Equal indices average their embeddings and then all write the same row.
        same = (index[:, None] == index[None, :]) & finite[None, :]
        share = same.to(everyone.student.dtype) / same.sum(1, keepdim=True).clamp(min=1)
        known = same.any(1, keepdim=True)
        place = self._place(index)
        with torch.autocast(index.device.type, enabled=False):
            for name, new in zip(BANKS, (everyone.student, everyone.teacher), strict=True):
                bank = getattr(self, name)
                old = bank[place].to(new.dtype)
                moved = self.momentum * old + (1 - self.momentum) * (share @ new)
                bank[place] = torch.where(known, F.normalize(moved, dim=1), old).to(bank.dtype)
        if everyone.labels is not None:
            # A row of no class stays unknown: -2 is a label of anchors alone.
            self.row_labels[index] = everyone.labels.clamp(min=-1)

    def _bank_against(self, side: str) -> Tensor:
        """The other side's bank, or this rank's rows of it."""
        bank = self.teacher_bank if side == 'student' else self.student_bank
        return bank[:-1] if self._is_sharded() else bank

    def _look_up(self, name: str, own: Batch, everyone: Batch) -> Tensor:
        """Own rows of a batch, ``(B, D)``."""
        bank = getattr(self, name)
        if not self._is_sharded():
            return bank[own.index].to(own.student.dtype)
        place = self._place(everyone.index)
        rows = bank[place].to(own.student.dtype)
        rows = torch.where((place < len(bank) - 1)[:, None], rows, 0)
        dist.all_reduce(rows)
        return self._own_part(rows, len(own.index))

    def _classes(self, labels: Tensor | None, index: Tensor) -> Tensor | None:
        if not self.exclude_same_class:
            return None
        labels = labels.to(index)
        # -1 marks rows whose class is not known yet; a sample without a class must not match them.
        return torch.where(labels < 0, -2, labels)

    def _chunk(self, like: Tensor) -> int:
        return self.chunk_size or (4096 if like.device.type == 'cpu' else 32768)

    def _labels(self) -> Tensor | None:
        return self.row_labels if self.exclude_same_class else None

    # ------------------------------------------------------------------ sharding
    def _is_sharded(self) -> bool:
        return self.shard and dist.get_world_size() > 1

    def _rows_a_rank(self) -> int:
        return -(-self.num_rows // dist.get_world_size()) if self._is_sharded() else self.num_rows

    def _first_row(self) -> int:
        return dist.get_rank() * self._rows_a_rank() if self._is_sharded() else 0

    def _place(self, index: Tensor) -> Tensor:
        """Where rows lie in this rank's banks; rows of other ranks lie in a spare last row."""
        if not self._is_sharded():
            return index
        place, spare = index - self._first_row(), len(self.student_bank) - 1
        return torch.where((place >= 0) & (place < spare), place, spare)

    def _over_shards(self, count: int, *sums: Tensor) -> tuple[Tensor, ...]:
        """Add the ranks' sums for the global batch, and take this rank's ``count`` anchors."""
        if not self._is_sharded():
            return sums
        for part in sums:
            dist.all_reduce(part)
        return tuple(self._own_part(part, count) for part in sums)

    def _own_part(self, rows: Tensor, count: int) -> Tensor:
        return rows[dist.get_rank() * count : (dist.get_rank() + 1) * count]

    def _set_rows(self, name: str, rows: Tensor) -> None:
        """Take all rows of a bank, or those of this rank; until they move, all are known."""
        rows = rows.to(getattr(self, name))
        if self._is_sharded():
            # DDP makes buffers equal on all ranks, which these are not.
            self._buffers.pop(name, None)
            self._whole[name] = rows.cpu()
            first = self._first_row()
            rows = F.pad(rows[first : first + self._rows_a_rank()], (0, 0, 0, 1))
        setattr(self, name, rows)

    def gather_whole(self) -> None:
        """Bring the rows of all ranks together, on the CPU, for the next ``state_dict()``.

        To be called on all ranks, without a training step between it and ``state_dict()``. Does
        nothing where banks are not sharded.
        """
        if not self._is_sharded() or not self.num_rows:
            return
        size = self._rows_a_rank()
        for name in BANKS:
            rows = getattr(self, name)[:-1]
            parts = dist.all_gather(F.pad(rows, (0, 0, 0, size - len(rows))))
            self._whole[name] = torch.cat([part.cpu() for part in parts])[: self.num_rows]

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> ContrastMemory:
        super()._apply(fn, *args, **kwargs)
        for name in BANKS:
            if name not in self._buffers:
                setattr(self, name, fn(getattr(self, name)))
        return self

    # ------------------------------------------------------------------ checkpoints
    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in BANKS:
            if name in self._buffers:
                continue
            if name not in self._whole:
                raise RuntimeError(
                    'this memory bank is spread over the ranks: call gather_whole() on all of '
                    "them before state_dict(), as custom_hooks = [dict(type='DistillHook')] does "
                    'before checkpoints'
                )
            destination[prefix + name] = self._whole[name]

    def _load_from_state_dict(
        self,
        state_dict: dict,
        prefix: str,
        local_metadata: dict,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take over the size of stored banks when there is no data set, as in testing."""
        stored = state_dict.get(prefix + 'student_bank')
        if self.num_rows == 0 and stored is not None:
            self.set_num_samples(len(stored) // self.rows_per_sample)
        super()._load_from_state_dict(
            state_dict,
            prefix,
            local_metadata,
            strict,
            missing_keys,
            unexpected_keys,
            error_msgs,
        )
        for key in [prefix + name for name in BANKS if name not in self._buffers]:
            if key not in state_dict:
                missing_keys.append(key)
                continue
            if key in unexpected_keys:
                unexpected_keys.remove(key)
            if len(state_dict[key]) == self.num_rows:
                self._set_rows(key[len(prefix) :], state_dict[key])
            else:
                error_msgs.append(
                    f'{key} has {len(state_dict[key])} rows, the data set {self.num_rows}'
                )

    def _check(self, index: Tensor, labels: Tensor | None) -> None:
        if self.num_rows == 0:
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
        if self.exclude_same_class and labels is None:
            raise ValueError(
                'exclude_same_class needs the class of each sample: name the key of the data '
                "samples, granularity=dict(type='scene', label_key='gt_label')"
            )
