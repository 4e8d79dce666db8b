"""Axis orders of stored sparse kernels, and which of them a checkpoint uses."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from mmengine.logging import print_log
from torch import Tensor

OUT_FIRST = 'out, kx, ky, kz, in'  # spconv >= 2.2 and MMDetection3D with spconv 2.x; ours
OUT_LAST = 'kx, ky, kz, in, out'  # spconv 1.x, MMCV, mit-han-lab/bevfusion
IN_LAST = 'kx, ky, kz, out, in'  # spconv 2.0 and 2.1 with the Native algorithm
LAYOUTS = (OUT_FIRST, OUT_LAST, IN_LAST)

# Where the axes (out, kx, ky, kz, in) stand in each of them.
_AXES = {OUT_FIRST: (0, 1, 2, 3, 4), OUT_LAST: (4, 0, 1, 2, 3), IN_LAST: (3, 0, 1, 2, 4)}
# By version tag, for kernels whose shapes leave a choice.
_PREFERENCE = {1: (OUT_LAST, OUT_FIRST, IN_LAST), 2: (OUT_FIRST, IN_LAST, OUT_LAST)}


def fitting_layouts(given: Sequence[int], own: Sequence[int]) -> list[str]:
    """Layouts in which a stored kernel has the model's shape.

    Args:
        given: Shape in the checkpoint.
        own: Shape in the model, (out, kx, ky, kz, in).

    Returns:
        Those of ``LAYOUTS`` that fit: one where input and output channels differ, two where a
        kernel of the older orders has as many inputs as outputs, none for another shape.
    """
    given, own = tuple(given), tuple(own)
    if len(given) != len(own) or len(own) != 5:
        return []
    return [name for name, axes in _AXES.items() if tuple(given[a] for a in axes) == own]


def layouts_of_file(kernels: Mapping[str, tuple[Sequence[int], Sequence[int]]]) -> list[str]:
    """Layouts that all kernels of one checkpoint can have.

    A program writes all its kernels in one order, so the kernels whose shape leaves no choice
    (the first convolution, the ones that widen) decide for those whose shape does.

    Args:
        kernels: Name of each layer to the shape of its kernel in the checkpoint and in the model.
            Kernels that fit in no layout have no say; loading reports them.

    Returns:
        The layouts left, in the order of ``LAYOUTS``. Empty if the kernels contradict each other,
        which a warning lists.
    """
    fitting = {name: fitting_layouts(*shapes) for name, shapes in kernels.items()}
    fitting = {name: layouts for name, layouts in fitting.items() if layouts}
    common = [layout for layout in LAYOUTS if all(layout in own for own in fitting.values())]
    if fitting and not common:
        certain = {name: layouts[0] for name, layouts in fitting.items() if len(layouts) == 1}
        listed = '; '.join(f'{name}: ({layout})' for name, layout in sorted(certain.items()))
        print_log(
            f'The checkpoint holds sparse kernels of several layouts: {listed}. Each is read as '
            'its own shape says; verify the result with bevfusion.check_encoder(model, points)',
            logger='current',
            level=logging.WARNING,
        )
    return common


def choose_layout(
    given: Sequence[int],
    own: Sequence[int],
    version: int | None,
    of_file: Sequence[str] = (),
) -> str:
    """Layout of one stored kernel.

    Its shape decides; where that leaves two, the other kernels of the file do; where they leave
    two as well (each has as many inputs as outputs), the version tag does.

    Args:
        given: Shape in the checkpoint.
        own: Shape in the model, (out, kx, ky, kz, in).
        version: The layer's version tag in the checkpoint. MMDetection3D writes 2 with
            spconv 2.x; every other program leaves torch's 1 or none, whatever its layout.
        of_file: What :func:`layouts_of_file` found.

    Returns:
        One of ``LAYOUTS``; an unknown shape counts as ours, and loading then reports the mismatch.
    """
    layouts = fitting_layouts(given, own)
    layouts = [layout for layout in layouts if layout in of_file] or layouts
    if len(layouts) < 2:
        return layouts[0] if layouts else OUT_FIRST
    return next(layout for layout in _PREFERENCE.get(version, LAYOUTS) if layout in layouts)


def to_out_first(kernel: Tensor, layout: str) -> Tensor:
    """The kernel as (out, kx, ky, kz, in)."""
    return kernel if layout == OUT_FIRST else kernel.permute(_AXES[layout]).contiguous()
