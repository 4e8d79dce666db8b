"""Is the teacher any good? Its accuracy on a few validation samples."""

from __future__ import annotations

from collections.abc import Iterator

from mmdistill.apis.preflight.findings import Finding, Skip
from mmdistill.apis.preflight.state import State


def check_accuracy(state: State) -> Iterator[Finding]:
    """Each teacher's accuracy; near zero it is stale, or of another data set."""
    state.built_model()
    for name, teacher in state.teachers().items():
        if name not in state.has_weights:
            raise Skip(f'the weights of {name} are not there')
        if 'val' not in state.datasets:
            raise Skip('no validation data is there')
        yield state.domain.measure_accuracy(state, name, teacher.model)
