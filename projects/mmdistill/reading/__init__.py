"""Reading models: addresses, recorders, shapes, and what a sparse tensor is."""

from mmdistill.reading.address import LayerAddress
from mmdistill.reading.passes import pass_of, register_pass
from mmdistill.reading.recorder import FeatureRecorder, Recording, record_layers
from mmdistill.reading.recorders import (
    MethodResult,
    ModuleInputs,
    ModuleOutputs,
    Parameters,
    Recorder,
    build_recorder,
)
from mmdistill.reading.rows import register_rows
from mmdistill.reading.shapes import Layer, register_example, register_layer_facts

__all__ = [
    'FeatureRecorder',
    'Layer',
    'LayerAddress',
    'MethodResult',
    'ModuleInputs',
    'ModuleOutputs',
    'Parameters',
    'Recorder',
    'Recording',
    'build_recorder',
    'pass_of',
    'record_layers',
    'register_example',
    'register_layer_facts',
    'register_pass',
    'register_rows',
]
