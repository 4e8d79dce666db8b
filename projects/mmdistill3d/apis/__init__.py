"""What the checks and commands of mmdistill need to know of 3D detectors."""

from mmdistill3d.apis.preflight import Detection3D

__all__ = ['Detection3D']
