"""Seeded medical images with texts, in the layouts of MedPix-2.0 and Wound-1-0."""

from medsim.bounds import bounds, bounds_table
from medsim.evidence import Outcome, best_accuracy
from medsim.generate import generate_dataset, verify_dataset
from medsim.layouts import read_evidence
from medsim.parameters import Parameters

__all__ = [
    'Outcome',
    'Parameters',
    'best_accuracy',
    'bounds',
    'bounds_table',
    'generate_dataset',
    'read_evidence',
    'verify_dataset',
]
