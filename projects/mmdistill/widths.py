"""Widths: channels that a config gives, or that a link reads from its layers."""

from __future__ import annotations

from typing import Any

from mmdistill.reading.shapes import Layer

Width = int | list[int] | None


class HasWidths:
    """Mixin of losses and connectors with parts as wide as the layers that they join.

    ``__init__`` of the subclass ends with :meth:`take_widths`; the parts are made by :meth:`make`
    as soon as every width is known, which is at once where the config gives all of them.
    """

    widths: dict[str, Width]

    def take_widths(self, **widths: Width) -> None:
        """Take the widths that the config gives, ``None`` where it leaves them to the layers."""
        self.widths, self.is_made = widths, False
        self._make_when_known()

    def bind_widths(self, **layers: Layer) -> None:
        """Read the widths that are not known, and check those that are, by argument.

        Raises:
            ValueError: A layer has other channels than the config says, or a width is unknown.
        """
        for argument, layer in layers.items():
            self.widths[argument] = _agreed(self.widths[argument], layer, argument)
        self._make_when_known()

    def make(self, **widths: Any) -> None:
        """Make the parts; every width is known."""
        raise NotImplementedError

    def demand_widths(self) -> None:
        """Raise a ``ValueError`` where the widths are not known yet."""
        if not self.is_made:
            unknown = [argument for argument, width in self.widths.items() if width is None]
            raise ValueError(
                f'{type(self).__name__} does not know its {", ".join(unknown)}: a link reads them '
                'when the distiller is built; elsewhere, give them'
            )

    def _make_when_known(self) -> None:
        if not self.is_made and None not in self.widths.values():
            self.make(**self.widths)
            self.is_made = True


def _agreed(given: Width, layer: Layer, argument: str) -> Width:
    """Return the width that a config gives or a layer has, of which one must be known."""
    read = layer.channels
    if isinstance(read, list) and any(type(item) is not int for item in read):
        read = None
    if given is None and read is None:
        raise ValueError(
            f'{argument} is not known: {layer} does not tell it; give {argument} in the config, or '
            'the model an example_batch() from which widths are read'
        )
    if given is None or read is None:
        return read if given is None else given
    if given != read:
        raise ValueError(
            f'expected {_expected(given)} as {argument}={given} says, got {layer}; correct '
            f'{argument} or leave it out, or choose another layer'
        )
    return given


def _expected(width: int | list[int]) -> str:
    if isinstance(width, int):
        return f'a tensor (B, {width}, ...)'
    return f'a tuple of {len(width)} maps'
