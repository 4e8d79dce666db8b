"""Memory banks: embeddings of the whole data set, for contrast with many negatives."""

from mmdistill.memory.contrast_memory import ContrastMemory
from mmdistill.memory.nce import noise_contrastive_loss
from mmdistill.memory.queue_memory import QueueMemory
from mmdistill.memory.samplers import CellSampler, Samples, SceneSampler

__all__ = [
    'CellSampler',
    'ContrastMemory',
    'QueueMemory',
    'Samples',
    'SceneSampler',
    'noise_contrastive_loss',
]
