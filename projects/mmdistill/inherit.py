"""Inheritance: a narrow model starts from the weights of a wide one, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from mmdistill.axes import FIXED, IN, OUT, axes_of, kind_of, learned


def inherit(
    student: nn.Module,
    teacher: nn.Module,
    grouped_inputs: Mapping[str, Mapping[str, Any]] | None = None,
    names: Mapping[str, str] | None = None,
    exclude: Sequence[str] | Mapping[str, str] = (),
    outputs: Mapping[str, Sequence[int]] | None = None,
) -> InheritanceReport:
    """Overwrite a student's weights by those of the teacher's layers of the same names.

    Where the student is narrower it gets the first channels, both of a layer's outputs and of its
    inputs, so that the channels of consecutive layers still belong together: convolutions (dense,
    transposed, and sparse ones of spconv or MMCV), linear layers, embeddings, norms with their
    statistics, biases. Of ``nn.MultiheadAttention`` it gets the first heads, and the first
    channels of each; queries are scaled so that the products with the keys keep the teacher's
    scale, which depends on the width of a head.

    Args:
        student: Model that is changed in place. Shapes stay as they are.
        teacher: Model that is read.
        grouped_inputs: By the name of a student's layer, the :class:`ChannelLayout` of its input
            channels where these are no plain list: ``dict(blocks=2)`` or ``dict(inner=2)``.
        names: Teacher's name of a student's layer, or of a whole branch, where they differ.
        exclude: Names of layers or branches that keep their own initialisation; of a mapping, the
            values say why.
        outputs: By the name of a student's layer, the teacher's output channel of each of its own
            where these are not the first, as for classes in another order; -1 keeps the student's.

    Returns:
        What was inherited, and why the rest was left.

    Raises:
        ValueError: Nothing could be inherited, or a name or layout does not fit the models.
    """
    student, teacher = _unwrapped(student), _unwrapped(teacher)
    names = dict(names or {})
    layouts: dict[str, Any] = {
        name: ChannelLayout(**layout) for name, layout in (grouped_inputs or {}).items()
    }
    layers = dict(student.named_modules())
    sources = dict(teacher.named_modules(remove_duplicate=False))
    chosen = {name: _Chosen(tuple(index)) for name, index in (outputs or {}).items()}
    if not isinstance(exclude, Mapping):
        exclude = dict.fromkeys(exclude, 'excluded by the config')
    _check_names(layers, sources, {**layouts, **chosen}, names, exclude)
    report = InheritanceReport()
    with torch.no_grad():
        for name, layer in layers.items():
            source_name = _translate(name, names)
            source = sources.get(source_name)
            if isinstance(layer, nn.MultiheadAttention) and isinstance(source, type(layer)):
                layouts[f'{name}.out_proj'] = _HeadLayout.of(layer, source)
            excluded = next((why for at, why in exclude.items() if _is_below(name, [at])), None)
            if excluded is not None:
                found = excluded
            elif source is None:
                found = f'the teacher has no layer {source_name!r}'
            else:
                found = _cut_layer(name, layer, source, layouts.get(name), chosen.get(name))
            for key, tensor in learned(layer).items():
                value = found if isinstance(found, str) else found[key]
                if isinstance(value, str):
                    report.add(f'{name}.{key}', tensor, 'left', value)
                    continue
                is_whole = tensor.shape == learned(source)[key].shape
                report.add(f'{name}.{key}', tensor, 'whole' if is_whole else 'sliced')
                tensor.copy_(value)
    if not report.count('whole') + report.count('sliced'):
        raise ValueError(
            f'the student {type(student).__name__} inherits nothing of the teacher '
            f'{type(teacher).__name__}: no layer agrees in name and kernel. Give the names of '
            f"corresponding layers (names={{'backbone': 'pts_backbone'}}), or remove the hook.\n"
            f'{report}'
        )
    return report


@dataclass(frozen=True)
class ChannelLayout:
    """How the input channels of a layer are put together, to tell which a narrower one has.

    Without an argument they are a plain list, of which the first are taken.

    Args:
        blocks: So many maps of equal width, concatenated: the first channels of each.
        student: Instead of ``blocks``, the widths of the student's maps where they are unequal.
        teacher: The same for the teacher.
        chosen: The teacher's channel of each of the student's; -1 keeps the student's.
        inner: ``C`` channels of ``inner`` values each, flattened together, value ``d`` of channel
            ``c`` being input ``c * inner + d``: the first of the ``C``, all their values.
    """

    blocks: int = 1
    student: Sequence[int] | None = None
    teacher: Sequence[int] | None = None
    inner: int = 1
    chosen: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if (self.student is None) != (self.teacher is None):
            raise ValueError('a layout by widths needs those of `student` and of `teacher`')
        if self.student is not None and len(self.student) != len(self.teacher):
            raise ValueError(
                f'the student concatenates {len(self.student)} maps and the teacher '
                f'{len(self.teacher)}: {tuple(self.student)} and {tuple(self.teacher)}'
            )

    def index(self, student_channels: int, teacher_channels: int) -> Tensor | None:
        """Return the teacher's channel of each of the student's, ``None`` if it has too few.

        Raises:
            ValueError: The numbers of channels do not fit this layout.
        """
        if self.chosen is not None:
            return _Chosen(tuple(self.chosen)).index(student_channels, teacher_channels)
        student = self._widths(self.student, student_channels)
        teacher = self._widths(self.teacher, teacher_channels)
        if any(mine > theirs for mine, theirs in zip(student, teacher, strict=True)):
            return None
        values = torch.arange(self.inner)
        begins = [sum(teacher[:number]) for number in range(len(teacher))]
        blocks = [
            (torch.arange(begin, begin + width)[:, None] * self.inner + values).flatten()
            for begin, width in zip(begins, student, strict=True)
        ]
        return torch.cat(blocks)

    def _widths(self, widths: Sequence[int] | None, channels: int) -> tuple[int, ...]:
        """Widths of the blocks, in channels of ``inner`` values."""
        if widths is None:
            width, rest = divmod(channels, self.blocks * self.inner)
            if rest:
                raise ValueError(
                    f'{channels} input channels are no {self.blocks} block(s) of channels of '
                    f'{self.inner} value(s)'
                )
            return (width,) * self.blocks
        if sum(widths) * self.inner != channels:
            raise ValueError(
                f'maps of {tuple(widths)} channels of {self.inner} value(s) are no {channels} '
                'input channels'
            )
        return tuple(widths)


@dataclass
class InheritanceReport:
    """What a student inherited: ``str(report)`` is a table."""

    entries: list[tuple[str, str, int, str]] = field(default_factory=list)

    def add(self, name: str, tensor: Tensor, how: str, why: str = '') -> None:
        """Note a tensor: ``how`` is ``'whole'``, ``'sliced'`` or ``'left'``, for that reason."""
        size = tensor.numel() if isinstance(tensor, nn.Parameter) else 0
        self.entries.append((name, how, size, why))

    def count(self, how: str) -> int:
        """Number of tensors that were inherited in that way."""
        return sum(entry[1] == how for entry in self.entries)

    def parameters(self, how: str) -> int:
        """Number of parameters in them; statistics of norms do not count."""
        return sum(entry[2] for entry in self.entries if entry[1] == how)

    @property
    def share(self) -> float:
        """Part of the student's parameters that was inherited."""
        taken = self.parameters('whole') + self.parameters('sliced')
        return taken / max(taken + self.parameters('left'), 1)

    def left(self) -> dict[str, str]:
        """Reason by name of each tensor that kept its own initialisation."""
        return {name: why for name, how, _, why in self.entries if how == 'left'}

    def __str__(self) -> str:
        total = max(sum(entry[2] for entry in self.entries), 1)
        lines = [f'{"inherited":<10} {"tensors":>8} {"parameters":>12} {"share":>7}']
        for how in ('whole', 'sliced', 'left'):
            size = self.parameters(how)
            lines.append(f'{how:<10} {self.count(how):>8} {size:>12,} {size / total:>7.1%}')
        lines += [f'left {name}: {why}' for name, why in self.left().items()]
        return '\n'.join(lines)


@dataclass(frozen=True)
class _Chosen:
    """Channels that are named one by one."""

    channels: tuple[int, ...]

    def index(self, student_channels: int, teacher_channels: int) -> Tensor | None:
        if len(self.channels) != student_channels:
            raise ValueError(
                f'{len(self.channels)} channels of the teacher are chosen for {student_channels}'
            )
        if max(self.channels) >= teacher_channels:
            raise ValueError(
                f'channel {max(self.channels)} is chosen of {teacher_channels} of the teacher'
            )
        return torch.tensor(self.channels)


@dataclass(frozen=True)
class _HeadLayout:
    """Channels of attention heads: the first heads, and the first channels of each."""

    student_heads: int
    teacher_heads: int
    parts: int = 1  # 3 for queries, keys and values in one matrix

    @classmethod
    def of(cls, student: nn.MultiheadAttention, teacher: nn.MultiheadAttention, parts: int = 1):
        return cls(student.num_heads, teacher.num_heads, parts)

    def index(self, student_channels: int, teacher_channels: int) -> Tensor | None:
        mine = student_channels // (self.parts * self.student_heads)
        theirs = teacher_channels // (self.parts * self.teacher_heads)
        if mine > theirs or self.student_heads > self.teacher_heads:
            return None
        channels = torch.arange(teacher_channels).view(self.parts, self.teacher_heads, theirs)
        return channels[:, : self.student_heads, :mine].flatten()


def _cut_layer(
    name: str, layer: nn.Module, source: nn.Module, inputs: Any, outputs: Any
) -> dict[str, Tensor | str] | str:
    """Cut a layer's tensors out of the teacher's.

    Returns:
        The value of each tensor, or why the teacher has none for it; or why the whole layer is
        left: a bias of another kernel is of no use.
    """
    if kind_of(layer) != kind_of(source):
        return f'the teacher has a {type(source).__name__} of this name'
    theirs = learned(source)
    values: dict[str, Tensor | str] = {}
    for key, mine in learned(layer).items():
        if key not in theirs:
            values[key] = "the teacher's layer has none"
            continue
        try:
            value = _cut(key, layer, source, inputs or ChannelLayout(), outputs)
        except ValueError as error:
            raise ValueError(f'layer {name!r}: {error}') from error
        if value is None:
            return f'{key} is {tuple(mine.shape)}, the teacher has {tuple(theirs[key].shape)}'
        values[key] = value
    return values


def _cut(key: str, layer: nn.Module, source: nn.Module, inputs: Any, outputs: Any) -> Tensor | None:
    """Cut one tensor out of the teacher's; ``None`` where it does not fit."""
    mine, theirs = learned(layer)[key], learned(source)[key]
    axes = axes_of(layer, key, mine)
    if mine.dim() != theirs.dim() or axes != axes_of(source, key, theirs):
        return None
    layouts = {OUT: outputs or _output_layout(layer, source, key), IN: inputs}
    value, kept = theirs.to(mine), []
    for axis, what in enumerate(axes):
        sizes = mine.shape[axis], theirs.shape[axis]
        if what == FIXED:
            index = torch.arange(sizes[0]) if sizes[0] == sizes[1] else None
        else:
            index = layouts[what].index(*sizes)
        if index is None:
            return None
        index = index.to(value.device)
        value = value.index_select(axis, index.clamp(min=0))
        kept.append((index < 0).view([-1 if i == axis else 1 for i in range(mine.dim())]))
    for is_own in kept:
        value = torch.where(is_own, mine, value)
    if isinstance(layer, nn.MultiheadAttention):
        value = _keep_scale_of_queries(value, key, layer, source)
    return value


def _output_layout(layer: nn.Module, source: nn.Module, key: str) -> Any:
    if not isinstance(layer, nn.MultiheadAttention):
        return ChannelLayout()
    return _HeadLayout.of(layer, source, parts=3 if key.startswith('in_proj') else 1)


def _keep_scale_of_queries(
    value: Tensor, key: str, layer: nn.MultiheadAttention, source: nn.MultiheadAttention
) -> Tensor:
    """Attention divides by sqrt(width of a head); make up for the student's smaller one."""
    factor = (layer.head_dim / source.head_dim) ** 0.5
    if key == 'q_proj_weight':
        return value * factor
    if key.startswith('in_proj'):
        query, rest = value.split([len(value) // 3, 2 * len(value) // 3])
        return torch.cat([query * factor, rest])
    return value


def _translate(name: str, names: Mapping[str, str]) -> str:
    """Name in the teacher; the longest entry that covers a layer counts."""
    for own in sorted(names, key=len, reverse=True):
        if _is_below(name, [own]):
            return names[own] + name[len(own) :]
    return name


def _is_below(name: str, branches: Sequence[str]) -> bool:
    return any(name == branch or name.startswith(f'{branch}.') for branch in branches)


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _check_names(
    layers: Mapping[str, nn.Module],
    sources: Mapping[str, nn.Module],
    layouts: Mapping[str, Any],
    names: Mapping[str, str],
    exclude: Sequence[str],
) -> None:
    """A name that exists in neither model is a slip that would go unnoticed."""
    for argument, given, known in (
        ('grouped_inputs', layouts, layers),
        ('names', names, layers),
        ('exclude', exclude, layers),
        ('names', names.values(), sources),
    ):
        unknown = [name for name in given if name not in known]
        if unknown:
            side = 'student' if known is layers else 'teacher'
            raise ValueError(
                f'{argument} has {unknown}, which the {side} has not; its branches are '
                f'{sorted({name.split(".")[0] for name in known if name})}'
            )
