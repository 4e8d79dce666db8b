"""What a report shows of 3D detectors: precision by class, errors, frames from above."""

from mmdistill3d.report.domain import Detection3DReport
from mmdistill3d.report.matching import Match, match

__all__ = ['Detection3DReport', 'Match', 'match']
