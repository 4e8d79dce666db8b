"""Numpy stand-ins for the operators of Autoware's plugins and of libspconv.

They say what those operators compute, slowly and without a GPU, so that a graph written for them
can be run and compared with spconv.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun


def pairs(
    indices: np.ndarray,
    cells: list[int],
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    submanifold: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Output sites of a sparse convolution, and the input site under each kernel offset.

    Args:
        indices: (M, 4) sample 0, x, y, z.
        cells: Of the input's grid along (x, y, z).
        kernel, stride, padding: Along (x, y, z).
        submanifold: The output has the sites of the input.

    Returns:
        (N, 4) int32, and (kernel volume, N) int32, -1 where there is none.
    """
    stride, padding = np.asarray(stride), np.asarray(padding)
    offsets = np.stack(np.meshgrid(*map(np.arange, kernel), indexing='ij'), -1).reshape(-1, 3)
    sites = indices[:, 1:].astype(np.int64)
    outputs = sites
    if not submanifold:
        size = (np.asarray(cells) + 2 * padding - np.asarray(kernel)) // stride + 1
        shifted = (sites[None] + padding - offsets[:, None]).reshape(-1, 3)
        reached = shifted // stride
        is_there = (shifted % stride == 0).all(1) & (reached >= 0).all(1) & (reached < size).all(1)
        outputs = np.unique(reached[is_there], axis=0)
    keys = np.ravel_multi_index(tuple(sites.T), cells)
    order = keys.argsort()
    found = np.full((len(offsets), len(outputs)), -1, np.int32)
    for number, offset in enumerate(offsets):
        wanted = outputs * stride - padding + offset
        inside = np.flatnonzero(((wanted >= 0) & (wanted < cells)).all(axis=1))
        key = np.ravel_multi_index(tuple(wanted[inside].T), cells)
        place = np.searchsorted(keys, key, sorter=order).clip(max=max(len(keys) - 1, 0))
        hit = keys[order[place]] == key
        found[number, inside[hit]] = order[place[hit]]
    samples = np.zeros((len(outputs), 1), np.int64)
    return np.concatenate([samples, outputs], axis=1).astype(np.int32), found


def convolve(features: np.ndarray, weight: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Sums (N, out) of the pairs' products; weight (out, kx, ky, kz, in)."""
    kernel = weight.reshape(len(weight), -1, weight.shape[-1])
    output = np.zeros((found.shape[1], len(weight)), np.float32)
    for offset, sources in enumerate(found):
        hit = np.flatnonzero(sources >= 0)
        output[hit] += features[sources[hit]] @ kernel[:, offset].T
    return output


class GetIndicePairsImplicitGemm(OpRun):
    """Sites, pairs, which offsets each site has as bits, an order of the sites, their number."""

    op_domain = 'autoware'

    def _run(self, indices: np.ndarray, **options: Any) -> tuple[np.ndarray, ...]:
        names = ('spatial_shape', 'ksize', 'stride', 'padding', 'subm')
        outputs, found = pairs(indices, *(options[name] for name in names))
        bits = ((found >= 0).astype(np.int64) << np.arange(len(found))[:, None]).sum(axis=0)
        order = np.arange(len(outputs), dtype=np.int32)
        number = np.array(len(outputs), np.int32)
        return outputs, found, bits.astype(np.int32)[:, None], order, number


class ImplicitGemm(OpRun):
    """A sparse convolution over given pairs, without bias."""

    op_domain = 'autoware'

    def _run(self, features, weight, found, mask, order, **options: Any) -> tuple[np.ndarray]:
        return (convolve(features, weight, found),)


def run_autoware(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs of a graph with Autoware's operators."""
    evaluator = ReferenceEvaluator(model, new_ops=[GetIndicePairsImplicitGemm, ImplicitGemm])
    return evaluator.run(None, inputs)


def run_libspconv(model: onnx.ModelProto, features: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """The map of a libspconv container: float16 between the layers, float32 sums within.

    Args:
        model: What :func:`deploy.libspconv.container` wrote.
        features: (M, C) float32.
        indices: (M, 4) int32: sample 0, x, y, z.
    """
    weights = {w.name: numpy_helper.to_array(w).astype(np.float32) for w in model.graph.initializer}
    values = {model.graph.input[0].name: _half(features)}
    sites = {model.graph.input[0].name: indices}
    rulebooks: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for node in model.graph.node:
        options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        source, output = node.input[0], node.output[0]
        x = values[source]
        if node.op_type == 'SparseConvolution':
            key = options['rulebook']
            if key not in rulebooks:
                names = ('input_spatial_shape', 'kernel_size', 'stride', 'padding', 'subm')
                rulebooks[key] = pairs(sites[source], *(options[name] for name in names))
            sites[output], found = rulebooks[key]
            x = convolve(x, weights[node.input[1]], found) + weights[node.input[2]]
            x = np.maximum(x, 0) if options['activation'] == b'ReLU' else x
        elif node.op_type == 'Add':
            x, sites[output] = x + values[node.input[1]], sites[source]
        elif node.op_type == 'Relu':
            x, sites[output] = np.maximum(x, 0), sites[source]
        elif node.op_type == 'ScatterDense':
            volume = np.zeros(options['output_shape'], np.float32)
            _, *place = sites[source].T
            volume[0, :, place[0], place[1], place[2]] = x
            x = volume
        elif node.op_type == 'Transpose':
            x = x.transpose(options['dims'])
        elif node.op_type == 'Reshape':
            x = x.reshape(options['dims'])
        else:
            raise ValueError(f'libspconv knows no {node.op_type}')
        values[output] = _half(x)
    return values[model.graph.output[0].name]


def _half(x: np.ndarray) -> np.ndarray:
    """float32 values that float16 can hold."""
    return x.astype(np.float16).astype(np.float32)
