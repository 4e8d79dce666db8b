"""What is wrong with the lines of an annotation file, counted and named."""

from __future__ import annotations

from collections.abc import Collection

KINDS = {
    'unreadable': 'cannot be read',
    'duplicate_id': 'repeat an id',
    'unknown_class': 'have a label that is not among the classes',
    'missing_image': 'name an image that does not exist',
    'empty_text': 'have no text, or a placeholder for it',
    'in_other_split': 'are of a patient, case or photo that another split has',
}
"""Kinds of faults, and what lines with one do."""

_SHOWN = 5


class Faults:
    """Collects the faults of one file.

    Args:
        file: Its path, for the messages.
        allowed: Kinds that are no error.

    Raises:
        ValueError: ``allowed`` names an unknown kind.
    """

    def __init__(self, file: str, allowed: Collection[str]) -> None:
        unknown = sorted(set(allowed) - set(KINDS))
        if unknown:
            raise ValueError(f'allow names {unknown}; the kinds of faults are {list(KINDS)}')
        self.file, self.allowed = file, frozenset(allowed)
        self.found: dict[str, list[tuple[int, str]]] = {}

    def add(self, kind: str, line: int, what: str) -> None:
        """Note a fault of a line; lines count from 1."""
        self.found.setdefault(kind, []).append((line, what))

    def counts(self) -> dict[str, int]:
        """How many lines have each kind of fault."""
        return {kind: len(self.found[kind]) for kind in KINDS if kind in self.found}

    def lines(self, kinds: Collection[str]) -> list[str]:
        """One sentence for each of some kinds that occur, with line numbers."""
        sentences = []
        for kind in KINDS:
            if kind not in kinds or kind not in self.found:
                continue
            cases = self.found[kind]
            named = '; '.join(f'line {line}: {what}' for line, what in cases[:_SHOWN])
            more = f'; and {len(cases) - _SHOWN} more' if len(cases) > _SHOWN else ''
            sentences.append(f'{kind}: {len(cases)} lines {KINDS[kind]} ({named}{more})')
        return sentences

    def check(self, advice: str = '') -> None:
        """Raise what is not allowed.

        Args:
            advice: What else there is to say.

        Raises:
            ValueError: Naming file, kinds, counts, line numbers and how to go on.
        """
        wrong = [kind for kind in KINDS if kind in self.found and kind not in self.allowed]
        if wrong:
            text = '\n  '.join([f'{self.file} has faults:', *self.lines(wrong)])
            raise ValueError(
                f'{text}\nMend them, or let the data set go on without these samples (with an '
                f'empty text, for empty_text): allow={sorted({*self.allowed, *wrong})!r}'
                + (f'\n{advice}' if advice else '')
            )
