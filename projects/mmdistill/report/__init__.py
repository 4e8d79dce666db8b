"""One HTML page that shows what a run, or several side by side, were worth."""

from mmdistill.report.content import (
    Diagram,
    DiagramRow,
    Picture,
    Plot,
    Section,
    Table,
)
from mmdistill.report.domain import ReportDomain, register_report_domain
from mmdistill.report.page import Page, render
from mmdistill.report.report import build_page
from mmdistill.report.runs import Run, read_runs

__all__ = [
    'Diagram',
    'DiagramRow',
    'Page',
    'Picture',
    'Plot',
    'ReportDomain',
    'Run',
    'Section',
    'Table',
    'build_page',
    'read_runs',
    'register_report_domain',
    'render',
]
