"""How a loss is compared with its formula."""

from __future__ import annotations

import torch


def assert_same(actual, expected, *variables):
    """Compare two scalars, and their gradients with respect to ``variables``."""
    torch.testing.assert_close(actual, expected)
    for one, other in zip(
        torch.autograd.grad(actual, variables, retain_graph=True),
        torch.autograd.grad(expected, variables, retain_graph=True),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def positions(feature):
    """Indices ``(b, h, w)`` of a map's positions."""
    batch, _, height, width = feature.shape
    return [(b, h, w) for b in range(batch) for h in range(height) for w in range(width)]
