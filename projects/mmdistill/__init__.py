"""Knowledge distillation for any MMEngine model, configured by links between layers."""

from mmdistill import connectors, evaluation, hooks, losses, memory
from mmdistill.address import LayerAddress
from mmdistill.distiller import Distiller
from mmdistill.link import Link
from mmdistill.recorder import FeatureRecorder
from mmdistill.schedule import WeightSchedule
from mmdistill.teacher import Teacher
from mmdistill.utils.checkpoint import allow_mmengine_checkpoints

__version__ = '0.1.0'

# So that `torch.load(weights_only=True)`, torch's default, reads what MMEngine's runner saves.
allow_mmengine_checkpoints()

__all__ = [
    'Distiller',
    'FeatureRecorder',
    'LayerAddress',
    'Link',
    'Teacher',
    'WeightSchedule',
    '__version__',
    'allow_mmengine_checkpoints',
    'connectors',
    'evaluation',
    'hooks',
    'losses',
    'memory',
]
