"""A small way to write ONNX graphs by hand: tensors with arithmetic, as in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
"""Version of the standard operators in every graph of this package."""

_END = 2**62  # of a slice that goes to the end


class Tensor:
    """A tensor of a :class:`Graph`; what is done with it adds nodes to the graph.

    ``+ - * / < >= & ~`` do what they do in numpy; ``//`` is right for integers that are not
    negative, which is all that coordinates and table positions are here.
    """

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def __add__(self, other: Any) -> Tensor:
        return self.graph.op('Add', self, other)

    def __sub__(self, other: Any) -> Tensor:
        return self.graph.op('Sub', self, other)

    def __mul__(self, other: Any) -> Tensor:
        return self.graph.op('Mul', self, other)

    def __truediv__(self, other: Any) -> Tensor:
        return self.graph.op('Div', self, other)

    __floordiv__ = __truediv__  # ONNX divides integers by cutting off the remainder

    def __lt__(self, other: Any) -> Tensor:
        return self.graph.op('Less', self, other)

    def __ge__(self, other: Any) -> Tensor:
        return self.graph.op('GreaterOrEqual', self, other)

    def __and__(self, other: Tensor) -> Tensor:
        return self.graph.op('And', self, other)

    def __invert__(self) -> Tensor:
        return self.graph.op('Not', self)

    @property
    def rows(self) -> Tensor:
        """Length of the first axis, as an int64 tensor of shape (1,)."""
        return self.graph.op('Shape', self, start=0, end=1)

    def cast(self, dtype: int) -> Tensor:
        """As another ``TensorProto`` type."""
        return self.graph.op('Cast', self, to=dtype)

    def take(self, indices: Any, axis: int = 0) -> Tensor:
        """The entries at ``indices`` along an axis."""
        return self.graph.op('Gather', self, indices, axis=axis)

    def cut(self, start: int, stop: int | None = None, axis: int = 0) -> Tensor:
        """The entries from ``start`` to before ``stop`` along an axis."""
        stop = _END if stop is None else stop
        return self.graph.op('Slice', self, [start], [stop], [axis])

    def reshape(self, *shape: int) -> Tensor:
        return self.graph.op('Reshape', self, list(shape))

    def unsqueeze(self, axis: int) -> Tensor:
        return self.graph.op('Unsqueeze', self, [axis])

    def transpose(self, *axes: int) -> Tensor:
        return self.graph.op('Transpose', self, perm=list(axes))

    def sum(self, axis: int, keepdims: bool = False) -> Tensor:
        return self.graph.op('ReduceSum', self, [axis], keepdims=int(keepdims))

    def cumsum(self) -> Tensor:
        """Sums of the entries up to each; booleans count as 0 and 1."""
        return self.graph.op('CumSum', self.cast(TensorProto.INT64), 0)

    def relu(self) -> Tensor:
        return self.graph.op('Relu', self)

    def where_true(self) -> Tensor:
        """Positions (K,) of the true entries of a (N,) tensor."""
        return self.graph.op('Squeeze', self.graph.op('NonZero', self), [0])

    def scattered(self, positions: Tensor, values: Tensor) -> Tensor:
        """A copy of a (N,) tensor with ``values`` at ``positions``."""
        return self.graph.op('ScatterElements', self, positions, values, axis=0)

    def scattered_rows(self, positions: Tensor, rows: Tensor) -> Tensor:
        """A copy of a (N, C) tensor with ``rows`` (K, C) at ``positions`` (K,)."""
        return self.graph.op('ScatterND', self, positions.unsqueeze(1), rows)


class Graph:
    """Nodes and constants of a graph that is being written.

    Attributes:
        layers: Name of a layer of the torch model -> name of the tensor that holds its output.

    Example:
        >>> graph = Graph()
        >>> x = graph.input('x', TensorProto.FLOAT, ['N', 3])
        >>> graph.output('y', (x + 1.0).relu(), ['N', 3])
        >>> graph.build('example').graph.output[0].name
        'y'
    """

    def __init__(self) -> None:
        self.layers: dict[str, str] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: int, shape: Sequence[int | str]) -> Tensor:
        """An input of the graph; strings in the shape name lengths that may vary."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return Tensor(self, name)

    def output(
        self, name: str, tensor: Tensor, shape: Sequence[int | str], dtype: int = TensorProto.FLOAT
    ) -> None:
        """Make a tensor an output of the graph, under a name of its own."""
        self._outputs.append(helper.make_tensor_value_info(name, dtype, shape))
        self._nodes.append(helper.make_node('Identity', [tensor.name], [name], name=name))

    def op(self, kind: str, *inputs: Any, domain: str = '', **attributes: Any) -> Tensor:
        """Add a node; numbers, lists of numbers and arrays among its inputs become constants."""
        return self.ops(kind, *inputs, outputs=1, domain=domain, **attributes)[0]

    def ops(
        self, kind: str, *inputs: Any, outputs: int, domain: str = '', **attributes: Any
    ) -> list[Tensor]:
        """Add a node of several outputs."""
        name = f'points/{kind}_{len(self._nodes)}'
        names = [name] if outputs == 1 else [f'{name}_{index}' for index in range(outputs)]
        given = [self.tensor(value).name for value in inputs]
        self._nodes.append(
            helper.make_node(kind, given, names, name=name, domain=domain, **attributes)
        )
        return [Tensor(self, output) for output in names]

    def tensor(self, value: Any) -> Tensor:
        """The value itself if it is a tensor, else a constant: int64, float32 or the array's."""
        if isinstance(value, Tensor):
            return value
        array = np.asarray(value)
        if not isinstance(value, np.ndarray | np.generic):
            array = array.astype(np.int64 if array.dtype.kind == 'i' else np.float32)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f'points/constant_{len(self._constants)}'
            self._constants[key] = numpy_helper.from_array(np.array(array, order='C'), name)
        return Tensor(self, self._constants[key].name)

    def full(self, shape: Any, value: Any) -> Tensor:
        """A tensor of one value, a numpy scalar; the shape may be computed in the graph."""
        proto = numpy_helper.from_array(np.asarray([value]))
        return self.op('ConstantOfShape', shape, value=proto)

    def arange(self, length: Tensor) -> Tensor:
        """0, 1, ... for a length given as a tensor (1,)."""
        return self.op('Range', 0, self.op('Squeeze', length), 1)

    def concat(self, tensors: Sequence[Any], axis: int = 0) -> Tensor:
        return self.op('Concat', *tensors, axis=axis) if len(tensors) > 1 else tensors[0]

    def where(self, condition: Tensor, yes: Any, no: Any) -> Tensor:
        return self.op('Where', condition, yes, no)

    def starts_of_runs(self, sorted_keys: Tensor) -> Tensor:
        """For each entry of a sorted (N,) tensor, whether it differs from the one before it."""
        same = self.op('Equal', sorted_keys.cut(1), sorted_keys.cut(0, -1))
        first = self.full(self.op('Min', sorted_keys.rows, [1]), np.bool_(True))
        return self.concat([first, ~same])

    def build(self, name: str, domains: Sequence[str] = ()) -> onnx.ModelProto:
        """The model, of standard operators and those of ``domains``."""
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, list(self._constants.values())
        )
        opsets = [helper.make_opsetid('', OPSET), *(helper.make_opsetid(d, 1) for d in domains)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)
