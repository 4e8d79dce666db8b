"""What CRD contrasts: whole scenes, or cells of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from mmdistill.contracts import Sampler
from mmdistill.losses.reduce import as_float
from mmdistill.reading.address import describe
from mmdistill.reading.sparse import is_sparse, replace_features

# Short names of samplers; the one of objects belongs to mmdistill3d, which adds it.
SAMPLERS = {'scene': 'SceneSampler', 'cell': 'CellSampler'}


@dataclass(frozen=True)
class Samples:
    """Features that are contrasted, and where they belong in a memory.

    Args:
        student: The student's, ``(M, Cs, ...)``, or a sparse tensor of ``M`` samples; non-finite
            ones are zeroed.
        teacher: The teacher's, ``(M, Ct, ...)``.
        valid: Which are finite on both sides, ``(M,)``.
        keys: Arguments of the memory's ``forward`` that say which samples these are.
    """

    student: Any
    teacher: Any
    valid: Tensor
    keys: dict[str, Tensor | None]


@MODELS.register_module()
class SceneSampler(Sampler):
    """Whole features, keyed by the sample's index in the data set: CRD as published.

    Args:
        label_key: Key of the data samples that holds the class, for a memory that leaves rows of
            the same class out of the negatives.
    """

    memory = dict(type='ContrastMemory')

    def __init__(self, label_key: str | None = None) -> None:
        self.label_key = label_key
        self.needs = ('sample_idx',) if label_key is None else ('sample_idx', 'data_samples')

    def __call__(
        self, student: Any, teacher: Any, *, sample_idx: Tensor | None, data_samples: Any = None
    ) -> Samples:
        """Return one sample for each of the batch.

        Raises:
            ValueError: A feature is no tensor, or the batch has no ``sample_idx``.
        """
        for feature in (student, teacher):
            if not (isinstance(feature, Tensor) or is_sparse(feature)):
                raise ValueError(
                    f'expected one tensor, got {describe(feature)}: add a selector to the layer '
                    'address, e.g. [0]'
                )
        index = _demand_index(sample_idx)
        student, student_is_finite = zero_if_not_finite(student)
        teacher, teacher_is_finite = zero_if_not_finite(teacher)
        keys = dict(index=index, labels=self._labels(data_samples))
        return Samples(student, teacher, student_is_finite & teacher_is_finite, keys)

    def _labels(self, data_samples: Any) -> Tensor | None:
        if self.label_key is None:
            return None
        labels = [getattr(sample, self.label_key, None) for sample in data_samples or []]
        if not labels or any(label is None for label in labels):
            raise ValueError(
                f'label_key={self.label_key!r} is no key of the data samples; correct it, or add '
                "it to the pipeline's Pack...Inputs"
            )
        return torch.cat([torch.as_tensor(label).reshape(1) for label in labels])


@MODELS.register_module()
class CellSampler(Sampler):
    """Cells of a coarse grid laid over the map, averaged; keyed by sample and cell.

    The key is ``sample_idx * cells + cell``. Augmentation moves the scene under the grid, so the
    default memory lets a cell agree with the other side's embedding of this step, not with a row.

    Args:
        grid: Cells ``(H, W)`` of the grid; more give more negatives, and larger banks.
    """

    needs = ('sample_idx',)

    def __init__(self, grid: Sequence[int] = (8, 8)) -> None:
        self.grid = tuple(grid)
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise ValueError(f'grid is (H, W), at least (1, 1); got {self.grid}')

    @property
    def memory(self) -> dict:
        """Config of the memory that fits these samples."""
        cells = self.grid[0] * self.grid[1]
        return dict(type='ContrastMemory', rows_per_sample=cells, positive='current')

    def __call__(self, student: Any, teacher: Any, *, sample_idx: Tensor | None) -> Samples:
        """Return a sample for each cell of each map ``(B, C, h, w)``, cells of a map together.

        Raises:
            ValueError: A feature is no map, or the batch has no ``sample_idx``.
        """
        index = _demand_index(sample_idx)
        cells = self.grid[0] * self.grid[1]
        index = (index[:, None] * cells + torch.arange(cells)).flatten()
        student, student_is_finite = zero_if_not_finite(self._cells(student))
        teacher, teacher_is_finite = zero_if_not_finite(self._cells(teacher))
        return Samples(student, teacher, student_is_finite & teacher_is_finite, dict(index=index))

    def _cells(self, feature: Any) -> Tensor:
        """``(B, C, h, w)`` to ``(B * cells, C)``."""
        feature = F.adaptive_avg_pool2d(as_float(demand_map(feature)), self.grid)
        return feature.flatten(2).transpose(1, 2).flatten(0, 1)


def zero_if_not_finite(feature: Any) -> tuple[Any, Tensor]:
    """Zero each sample that holds a non-finite value; also return which samples are finite, (B,).

    Zeroing before the projector keeps the bad values out of its gradients, too.
    """
    if not isinstance(feature, Tensor):
        finite_voxels = feature.features.isfinite().all(1)
        sample = feature.indices[:, 0].long()
        bad = finite_voxels.new_zeros(feature.batch_size, dtype=torch.long)
        bad = bad.scatter_add_(0, sample, (~finite_voxels).long())
        values = torch.where(finite_voxels[:, None], feature.features, 0)
        return replace_features(feature, values), bad == 0
    finite = feature.flatten(1).isfinite().all(1)
    return torch.where(finite.view(-1, *[1] * (feature.dim() - 1)), feature, 0), finite


def demand_map(feature: Any) -> Tensor:
    """Return a map ``(B, C, H, W)``; anything else is a ``ValueError`` that says what it is."""
    if not isinstance(feature, Tensor) or feature.dim() != 4:
        raise ValueError(
            f'cells and objects are read from maps (B, C, H, W), got {describe(feature)}; choose '
            'a layer that returns a map, and a selector, e.g. [0], where it returns a tuple'
        )
    return feature


def _demand_index(sample_idx: Tensor | None) -> Tensor:
    if sample_idx is None:
        raise ValueError(
            "CRD needs each sample's index in the data set, and the batch has none: add "
            "'sample_idx' to meta_keys of the pipeline's Pack...Inputs. A data set of tuples holds "
            'it in what the model takes as data_samples: '
            'BaseDataElement(metainfo=dict(sample_idx=index)), beside a label, say'
        )
    return sample_idx
