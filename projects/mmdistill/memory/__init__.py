"""Memory banks: embeddings of the whole data set, for contrast with many negatives."""

from mmdistill.memory.contrast_memory import ContrastMemory
from mmdistill.memory.nce import noise_contrastive_loss

__all__ = ['ContrastMemory', 'noise_contrastive_loss']
