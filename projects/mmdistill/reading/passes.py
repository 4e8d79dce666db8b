"""In which mode a frozen model runs, so that its layers see whole samples, as in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

MODES = ('predict', 'tensor')
"""Modes of a model's ``forward`` in which a teacher can run: neither computes losses."""

PassOf = Callable[[nn.Module], str | None]

_PASSES: list[PassOf] = []


def register_pass(function: PassOf) -> PassOf:
    """Let a function say in which mode the models that it knows see whole samples.

    Args:
        function: Takes the model; returns one of :data:`MODES`, or ``None`` for models that it
            does not know.
    """
    _PASSES.append(function)
    return function


def pass_of(model: nn.Module) -> str:
    """Return the mode in which a model's layers see what they see in training.

    That is ``'predict'``, as every model has it, unless a registered function knows that this
    model predicts from pieces of a sample.
    """
    said = (function(model) for function in _PASSES)
    return next((mode for mode in said if mode is not None), 'predict')


@register_pass
def of_sliding_windows(model: nn.Module) -> str | None:
    """Segmentors with ``test_cfg=dict(mode='slide')`` predict windows, and join them."""
    test_cfg = getattr(model, 'test_cfg', None)
    slides = isinstance(test_cfg, Mapping) and test_cfg.get('mode') == 'slide'
    return 'tensor' if slides else None
