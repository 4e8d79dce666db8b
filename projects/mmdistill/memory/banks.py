"""Rows of the banks of a data set: sizes, updates, sharding over ranks, checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from mmengine import dist
from torch import Tensor
from torch.nn import functional as F

from mmdistill.contracts import SampleMemory
from mmdistill.memory.batch import Batch

BANKS = ('student_bank', 'teacher_bank')
BANK_DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


class SampleBanks(SampleMemory):
    """Two banks with a row for each sample of the data set, whole or spread over the ranks.

    Base class of a memory, which compares a batch with :meth:`_bank` and :meth:`_look_up`, sums
    with :meth:`_over_shards` and then calls :meth:`_move_rows`. Where banks are sharded, a rank
    keeps a range of the rows and a spare last row, which takes the updates of rows of other ranks.
    In checkpoints banks are whole in either case, so a run may continue with other ranks.

    Args:
        embed_dims: Size ``D`` of the rows.
        rows_per_sample: Rows of each sample.
        bank_dtype: ``'float32'`` or ``'bfloat16'``.
        shard: Keep a part of the rows on each rank.
        with_labels: Keep the class of each row.
        num_samples: Length of the data set; ``None`` leaves it to :meth:`resize`.

    Raises:
        ValueError: ``bank_dtype`` is none of the known types.
    """

    student_bank: Tensor
    teacher_bank: Tensor
    row_labels: Tensor | None

    def __init__(
        self,
        embed_dims: int,
        rows_per_sample: int = 1,
        bank_dtype: str = 'float32',
        shard: bool = False,
        with_labels: bool = False,
        num_samples: int | None = None,
    ) -> None:
        super().__init__()
        if bank_dtype not in BANK_DTYPES:
            raise ValueError(f'bank_dtype is one of {tuple(BANK_DTYPES)}, not {bank_dtype!r}')
        self.embed_dims, self.rows_per_sample, self.shard = embed_dims, rows_per_sample, shard
        self.num_rows = 0
        self._whole: dict[str, Tensor] = {}
        for name in BANKS:
            self.register_buffer(name, torch.empty(0, embed_dims, dtype=BANK_DTYPES[bank_dtype]))
        labels = torch.empty(0, dtype=torch.long) if with_labels else None
        self.register_buffer('row_labels', labels)
        if num_samples is not None:
            self.resize(num_samples)

    @property
    def num_samples(self) -> int:
        """Length of the data set; 0 before it is known."""
        return self.num_rows // self.rows_per_sample

    def resize(self, num_samples: int) -> None:
        """Give the banks their rows for each sample, drawn alike on every rank.

        Raises:
            ValueError: The banks have the rows of a data set of another length.
        """
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
        if self.row_labels is not None:
            self.row_labels = self.row_labels.new_full((self.num_rows,), -1)

    def _check_rows(self, index: Tensor) -> None:
        """Say what is wrong with a batch's rows ``(B,)``, which lie on the CPU."""
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

    @property
    def banks(self) -> dict[str, Tensor]:
        """Both banks, with all rows, or those of this rank until :meth:`gather`."""
        return {name: self._whole.get(name, getattr(self, name)) for name in BANKS}

    @property
    def is_spread(self) -> bool:
        """Whether each rank has other rows."""
        return self._is_sharded()

    # ------------------------------------------------------------------ a batch
    def _bank(self, side: str) -> Tensor:
        """Rows of one side's bank that lie on this rank, ``(R, D)``."""
        bank = getattr(self, f'{side}_bank')
        return bank[:-1] if self._is_sharded() else bank

    def _look_up(self, side: str, own: Batch, everyone: Batch) -> Tensor:
        """Own rows of a batch in one side's bank, ``(B, D)``."""
        bank = getattr(self, f'{side}_bank')
        if not self._is_sharded():
            return bank[own.index].to(own.student.dtype)
        place = self._place(everyone.index)
        rows = bank[place].to(own.student.dtype)
        rows = torch.where((place < len(bank) - 1)[:, None], rows, 0)
        return self._over_shards(len(own.index), rows)[0]

    @torch.no_grad()
    def _move_rows(self, everyone: Batch, momentum: float) -> None:
        """Move the rows of the global batch, and note their classes."""
        self._whole.clear()
        index, finite = everyone.index, everyone.finite
        # Equal indices average their embeddings and then all write the same row.
        same = (index[:, None] == index[None, :]) & finite[None, :]
        share = same.to(everyone.student.dtype) / same.sum(1, keepdim=True).clamp(min=1)
        known = same.any(1, keepdim=True)
        place = self._place(index)
        with torch.autocast(index.device.type, enabled=False):
            for name, new in zip(BANKS, (everyone.student, everyone.teacher), strict=True):
                bank = getattr(self, name)
                old = bank[place].to(new.dtype)
                moved = momentum * old + (1 - momentum) * (share @ new)
                bank[place] = torch.where(known, F.normalize(moved, dim=1), old).to(bank.dtype)
        if everyone.labels is not None:
            # A row of no class stays unknown: -2 is a label of anchors alone.
            self.row_labels[index] = everyone.labels.clamp(min=-1)

    # ------------------------------------------------------------------ sharding
    def _is_sharded(self) -> bool:
        return self.shard and dist.get_world_size() > 1

    def _rows_a_rank(self) -> int:
        return -(-self.num_rows // dist.get_world_size()) if self._is_sharded() else self.num_rows

    def _first_row(self) -> int:
        return dist.get_rank() * self._rows_a_rank() if self._is_sharded() else 0

    def _own_labels(self) -> Tensor | None:
        """Classes of the rows that lie on this rank, ``(R,)``, where they are kept."""
        if self.row_labels is None or not self._is_sharded():
            return self.row_labels
        first = self._first_row()
        return self.row_labels[first : first + self._rows_a_rank()]

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
        first = dist.get_rank() * count
        return tuple(part[first : first + count] for part in sums)

    def _log_sum_over_shards(self, log_sums: Tensor) -> Tensor:
        """Add the ranks' sums, of which logarithms are given, for the whole global batch."""
        if not self._is_sharded():
            return log_sums
        return torch.logsumexp(torch.stack(dist.all_gather(log_sums)), 0)

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

    def gather(self) -> None:
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

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> SampleBanks:
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
                    'this memory bank is spread over the ranks: call gather() on all of '
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
            self.resize(len(stored) // self.rows_per_sample)
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
