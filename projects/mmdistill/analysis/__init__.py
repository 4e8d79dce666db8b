"""What models cost and what links do: MACs, memory, time, layers, gradients, tables of them."""

from mmdistill.analysis.complexity import Complexity, count
from mmdistill.analysis.memory import peak_bytes, resident_bytes

__all__ = ['Complexity', 'count', 'peak_bytes', 'resident_bytes']
