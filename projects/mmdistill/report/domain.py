"""What the page asks of a field of models, and what it shows where nothing is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

from mmdistill.analysis.confusion import confusion_figure, confusions_of
from mmdistill.report.content import Block, Plot, Section
from mmdistill.report.figures import as_svg, page_style
from mmdistill.report.log import is_finite
from mmdistill.report.runs import Run

if TYPE_CHECKING:
    from mmdistill.report.networks import Network

SHOWN_METRICS = 5


class ReportDomain:
    """Any model of MMEngine.

    A package that knows more of its models derives from this and calls
    :func:`register_report_domain` when it is imported.
    """

    sample = 'sample'
    """What a model takes one of."""

    def applies_to(self, cfg: Config) -> bool:
        """Whether the runs of a config are of this field."""
        return True

    def metrics(self, result: Mapping[str, Any]) -> dict[str, float]:
        """Metrics of the table by their headings, the most important one first."""
        found = {
            key.rsplit('/', 1)[-1]: value
            for key, value in result.items()
            if is_finite(value) and key != 'step'
        }
        means_first = sorted(found, key=lambda name: not name.startswith('mean'))
        return {name: found[name] for name in means_first[:SHOWN_METRICS]}

    def details(self, runs: Sequence[Run]) -> list[Block]:
        """What the results show beyond the table: here confusion matrices, where there are any."""
        blocks: list[Block] = []
        for number, run in enumerate(runs):
            evaluator = (run.cfg or {}).get('test_evaluator') or {}
            matrices, classes = confusions_of(evaluator, run.result)
            if matrices:
                with page_style():
                    svg = as_svg(confusion_figure(matrices, classes), f'confusion{number}')
                label = f'Confusion matrix of {run.name}'
                blocks.append(Plot(svg, label, f'{label}; rows are what is true.'))
        return blocks

    def pictures(
        self,
        networks: Sequence[Network],
        frames: int,
        report: Callable[[str], Any],
        folder: Path | None = None,
    ) -> Section | None:
        """A section of samples as the models see them; None where there is none to show.

        Args:
            networks: Models of the runs, in the order of the page.
            frames: How many samples of the validation may be looked at.
            report: Called with a line where something begins that takes time.
            folder: On request, where the pictures are written to as files, too.
        """
        return None


def register_report_domain(domain: ReportDomain) -> None:
    """Let pages use a domain for the runs that it applies to; the last one goes first."""
    _DOMAINS.insert(0, domain)


def domain_of(runs: Sequence[Run]) -> ReportDomain:
    """Return the domain of runs; that of any model where no other applies to all of them."""
    configs = [run.cfg for run in runs if run.cfg is not None]
    if not configs:
        return _DOMAINS[-1]
    return next(domain for domain in _DOMAINS if all(map(domain.applies_to, configs)))


_DOMAINS = [ReportDomain()]
