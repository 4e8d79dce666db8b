"""The dense part of a detector as ONNX, by torch's exporter."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deploy.graph import OPSET

OUTPUTS = ('boxes', 'scores', 'labels', 'in_range')
"""What a BEVFusion export gives: the queries' boxes, their scores and classes, and whether their
centres lie in the box coder's range."""


class DensePart(nn.Module):
    """A BEVFusion detector from the map of its sparse encoder to boxes, for one sample.

    Args:
        detector: A ``BEVFusion`` with a ``TransFusionHead``, in eval mode.

    Raises:
        ValueError: The head is of another kind.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        check_head(detector.bbox_head)
        self.pts_backbone, self.pts_neck = detector.pts_backbone, detector.pts_neck
        self.bbox_head = detector.bbox_head
        # The score's threshold is applied by the runtime, where it can be changed.
        self._coder = copy.copy(detector.bbox_head.bbox_coder)
        self._coder.score_threshold = None

    def forward(self, bev: Tensor) -> dict[str, Tensor]:
        """Boxes of a map.

        Args:
            bev: (1, C, X, Y).

        Returns:
            ``boxes`` (P, 7 or 9) x, y, bottom z, sizes, yaw, velocity; ``scores`` (P,); ``labels``
            (P,) int64; ``in_range`` (P,) bool; and by their names the layers on the way.
        """
        maps = self.pts_backbone(bev)
        fused = self.pts_neck(maps)
        outputs = self.bbox_head.forward_single(fused[0])
        layers = {f'pts_backbone[{index}]': level for index, level in enumerate(maps)}
        layers['pts_neck[0]'] = fused[0]
        layers['bbox_head.heatmap_head'] = outputs['dense_heatmap']

        queries = self.bbox_head.num_proposals
        raw = {name: outputs[name][..., -queries:] for name in _CODES if name in outputs}
        one_hot = F.one_hot(outputs['query_labels'], self.bbox_head.num_classes).transpose(1, 2)
        score = raw['heatmap'].sigmoid() * outputs['query_heatmap_score'] * one_hot
        scores, labels = score.max(dim=1)
        boxes = self._coder.decode_boxes(
            raw['rot'], raw['dim'], raw['center'], raw['height'], raw.get('vel')
        )
        decoded = (boxes, scores, labels, self._coder.keep_mask(boxes, scores))
        return {**{name: t[0] for name, t in zip(OUTPUTS, decoded, strict=True)}, **layers}


def check_head(head: nn.Module) -> None:
    """Check that a BEVFusion detector's head is the one that is exported.

    Raises:
        ValueError: It is of another kind.
    """
    from bevfusion.transfusion_head import TransFusionHead

    if not isinstance(head, TransFusionHead):
        raise ValueError(
            f'the head is a {type(head).__name__}; of BEVFusion detectors only those with a '
            'TransFusionHead are exported'
        )


_CODES = ('center', 'height', 'dim', 'rot', 'vel', 'heatmap')


def trace(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """Export a module that returns a dict.

    Args:
        module: In eval mode; takes ``inputs`` in their order.
        inputs: Examples by name.
        outputs: Which entries of the dict become outputs of the model; the others stay in it as
            tensors under their names, for those who want to look.

    Returns:
        A model of standard operators, weights inside.
    """
    with torch.no_grad():
        names = list(module(*inputs.values()))
    names = [*outputs, *(name for name in names if name not in outputs)]

    class AsTuple(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *args: Tensor) -> tuple[Tensor, ...]:
            result = self.module(*args)
            return tuple(result[name] for name in names)

    with _quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            AsTuple().eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=names,
            verbose=False,
        )
    model = program.model_proto
    del model.graph.output[len(outputs) :]
    return only_standard(model)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter's remarks about itself, dozens for every model, out of the log."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(disabled)


def only_standard(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without mention of other operator sets, of which it uses none.

    Raises:
        ValueError: It does use some; the message names them.
    """
    standard = ('', 'ai.onnx')
    nodes = [node for node in model.graph.node if node.domain not in standard]
    if nodes or model.functions:
        foreign = sorted({f'{node.domain}::{node.op_type}' for node in nodes})
        raise ValueError(f'the exported graph has operators beyond the standard: {foreign}')
    version = max(entry.version for entry in model.opset_import if entry.domain in standard)
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid('', version))
    return model


def joined(first: onnx.ModelProto, second: onnx.ModelProto) -> onnx.ModelProto:
    """One model of two, of which the first's outputs are the second's inputs, by name."""
    graph = onnx.helper.make_graph(
        [*first.graph.node, *second.graph.node],
        'detector',
        list(first.graph.input),
        list(second.graph.output),
        [*first.graph.initializer, *second.graph.initializer],
    )
    opsets = {entry.domain: entry.version for entry in first.opset_import}
    opsets.update({entry.domain: entry.version for entry in second.opset_import})
    return onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid(*entry) for entry in opsets.items()],
        ir_version=max(first.ir_version, second.ir_version),
    )
