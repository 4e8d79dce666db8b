"""Frames to measure 3D detectors on."""
