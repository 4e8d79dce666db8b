"""What the checks ask of a field of models, and what they do where nothing is known of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mmengine.evaluator import Evaluator

from mmdistill.apis.preflight.findings import Finding, Skip, ok
from mmdistill.reading.shapes import example_of

if TYPE_CHECKING:
    from mmdistill.apis.preflight.state import State

SHOWN_METRICS = 4


class Domain:
    """Any model of MMEngine.

    A package that knows more of its models derives from this and calls :func:`register_domain`
    when it is imported.
    """

    target = 'a target'
    """What a sample has at least one of, so that there is something to learn."""

    def applies_to(self, model: Any) -> bool:
        """Whether a model, or the student of a distiller, is of this field."""
        return True

    def count_targets(self, sample: Any) -> int | None:
        """Targets to learn in a training sample; None where it cannot be told."""
        return None

    def made_up_batch(self, state: State, count: int) -> Any:
        """A raw batch of ``count`` samples or fewer, for a step where the data set is not there.

        Raises:
            Skip: Nothing says what the model's samples look like.
        """
        batch = example_of(state.student)
        if batch is None:
            name = type(state.student).__name__
            raise Skip(f'no data set is there, and nothing tells what samples of {name} look like')
        return batch

    def measure_accuracy(self, state: State, name: str, model: Any) -> Finding:
        """How good a teacher is on a part of the validation data, by the config's own metrics.

        Raises:
            Skip: There are no metrics, or they need the whole split.
        """
        if not state.cfg.get('val_evaluator'):
            raise Skip('the config has no val_evaluator')
        dataset = state.datasets['val']
        evaluator = Evaluator(copy.deepcopy(state.cfg.val_evaluator))
        if hasattr(dataset, 'metainfo'):
            evaluator.dataset_meta = dataset.metainfo
        predictions = list(state.predictions(model))
        seen = f'{len(predictions)} of {len(dataset)} samples'
        try:
            for batch, outputs in predictions:
                evaluator.process(data_samples=outputs, data_batch=batch)
            metrics = evaluator.evaluate(len(predictions))
        except Exception as error:  # whatever a metric raises that misses the other samples
            names = ', '.join(type(metric).__name__ for metric in evaluator.metrics)
            raise Skip(
                f'{names} did not evaluate {seen}: {type(error).__name__}: {error}'
            ) from error
        numbers = [f'{key} {value:.4g}' for key, value in metrics.items() if _is_number(value)]
        return ok(f'{name}: {", ".join(numbers[:SHOWN_METRICS])} on {seen}')

    def check_metrics(self, state: State, metrics: Sequence[Any]) -> Iterator[Finding]:
        """Findings about the metrics of the validation, which have been built."""
        yield from ()


def register_domain(domain: Domain) -> None:
    """Let the checks use a domain for the models that it applies to; the last one goes first."""
    _DOMAINS.insert(0, domain)


def domain_of(model: Any) -> Domain:
    """The domain of a model; that of any model where no other applies, or where it is None."""
    return next(domain for domain in _DOMAINS if domain.applies_to(model))


_DOMAINS = [Domain()]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
