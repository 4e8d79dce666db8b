"""Knowledge distillation for any MMEngine model, configured by links between layers."""

from mmdistill import connectors, evaluation, hooks, losses, memory
from mmdistill.contracts import (
    Connector,
    LinkLoss,
    Mask,
    SampleMemory,
    Sampler,
    Targets,
)
from mmdistill.distiller import Distiller
from mmdistill.link import Link, register_aligner
from mmdistill.reading import (
    FeatureRecorder,
    Layer,
    LayerAddress,
    Recorder,
    record_layers,
    register_example,
    register_layer_facts,
)
from mmdistill.schedule import WeightSchedule
from mmdistill.student import read_student_config
from mmdistill.teacher import Teacher
from mmdistill.utils.checkpoint import allow_mmengine_checkpoints

__version__ = '0.1.0'

# So that `torch.load(weights_only=True)`, torch's default, reads what MMEngine's runner saves.
allow_mmengine_checkpoints()

__all__ = [
    'Connector',
    'Distiller',
    'FeatureRecorder',
    'Layer',
    'LayerAddress',
    'Link',
    'LinkLoss',
    'Mask',
    'Recorder',
    'SampleMemory',
    'Sampler',
    'Targets',
    'Teacher',
    'WeightSchedule',
    '__version__',
    'allow_mmengine_checkpoints',
    'connectors',
    'evaluation',
    'hooks',
    'losses',
    'memory',
    'read_student_config',
    'record_layers',
    'register_aligner',
    'register_example',
    'register_layer_facts',
]
