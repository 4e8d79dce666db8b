"""What exports cost and how near they are to torch: the numbers behind the package's tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from deploy import bevfusion, pillars
from deploy.check import predict, quiet_options
from deploy.dense import DensePart
from deploy.detector import Detector
from deploy.export import export, family_of
from deploy.loading import Detector as LoadedDetector
from deploy.loading import load_detector
from deploy.precision import quantised


def measure_file(
    detector: LoadedDetector, folder: Path, clouds: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Export a detector, and how near one file comes to torch.

    Returns:
        ``points`` and ``voxels`` of the first cloud, ``nodes``, ``megabytes`` and ``check``.

    Raises:
        ValueError: Of some clouds the boxes could not be compared, as scores are equal.
    """
    meta = export(detector, folder, check=clouds)
    if meta['check']['undecided']:
        raise ValueError(
            f'{meta["check"]["undecided"]} of {len(clouds)} clouds have scores that are equal to '
            '1e-5, which leaves it open which boxes there are; take another --seed'
        )
    path = folder / meta['files'][0]
    cells = family_of(detector.model).torch_layers(detector.model, clouds[0])['cells']
    return dict(
        points=len(clouds[0]),
        voxels=len(cells),
        nodes=len(onnx.load(path).graph.node),
        megabytes=path.stat().st_size / 1e6,
        check=meta['check'],
    )


@torch.inference_mode()
def time_bevfusion(
    detector: nn.Module, folder: Path, clouds: Sequence[np.ndarray], rounds: int
) -> dict[str, float]:
    """Processor milliseconds of torch with spconv and of an export, by one thread, in turns.

    Args:
        detector: A ``BEVFusion`` in eval mode.
        folder: Of its float32 export.
        clouds: The first one is timed; all of them calibrate INT8.
        rounds: Turns of each; medians are given.

    Returns:
        ``torch``, ``onnx`` from points to boxes; ``torch_dense``, ``onnx_dense``, ``int8_dense``
        from the encoder's map to boxes.
    """
    runtime, cloud = Detector(folder, threads=1), clouds[0]
    maps = [torch.from_numpy(_map(detector, one)) for one in clouds]
    dense, _ = bevfusion.dense_part(detector)
    int8 = quantised(dense, [{'bev': bev.numpy()} for bev in maps])
    sessions = [
        onnxruntime.InferenceSession(model.SerializeToString(), quiet_options())
        for model in (dense, int8)
    ]
    part, feed = DensePart(detector).eval(), {'bev': maps[0].numpy()}
    return in_turns(
        dict(
            torch=lambda: predict(detector, cloud),
            onnx=lambda: runtime(cloud),
            torch_dense=lambda: part(maps[0]),
            onnx_dense=lambda: sessions[0].run(None, feed),
            int8_dense=lambda: sessions[1].run(None, feed),
        ),
        rounds,
    )


@torch.inference_mode()
def time_pillars(
    detector: nn.Module, folder: Path, cloud: np.ndarray, rounds: int
) -> dict[str, float]:
    """Processor milliseconds of torch and of an export, from points to maps and to boxes.

    Returns:
        ``torch_maps``, ``onnx_maps``; ``torch``, ``onnx`` to boxes.
    """
    runtime = Detector(folder, threads=1)
    part = pillars.PillarPart(detector).eval()

    def torch_maps() -> None:
        part(pillars.pillars_in_torch(detector, cloud)[1])

    return in_turns(
        dict(
            torch_maps=torch_maps,
            onnx_maps=lambda: runtime.run(cloud),
            torch=lambda: predict(detector, cloud),
            onnx=lambda: runtime(cloud),
        ),
        rounds,
    )


@torch.inference_mode()
def time_rows(
    models: Mapping[str, nn.Module | Detector], clouds: Sequence[np.ndarray], rounds: int
) -> dict[str, float]:
    """Processor milliseconds from points to boxes of models in torch and of exports, in turns."""
    calls = {}
    for name, model in models.items():
        if isinstance(model, Detector):
            calls[name] = lambda model=model: [model(cloud) for cloud in clouds]
        else:
            calls[name] = lambda model=model: [predict(model, cloud) for cloud in clouds]
    return {name: spent / len(clouds) for name, spent in in_turns(calls, rounds).items()}


def in_turns(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median processor milliseconds of each call; all have a turn in every round.

    What other programs take of the machine is not counted, but for the caches. The first two
    rounds are left out: onnxruntime plans its memory in the first run and takes it in the second.
    """
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-2, rounds):
        for name, call in calls.items():
            began = time.process_time()
            call()
            if number >= 0:
                spent[name].append(1000 * (time.process_time() - began))
    return {name: median(values) for name, values in spent.items()}


def untrained(config: str | Path, cloud: np.ndarray, checkpoint: Path, seed: int) -> LoadedDetector:
    """A detector of a config with random weights and the norms that one cloud gives it.

    Untrained, a heatmap scores most cells alike, so which of them are the best is for the last
    bit to decide, and the boxes of two runtimes cannot be compared. A BEVFusion detector's
    heatmaps are therefore spread as a trained one's are, see :func:`spread_heatmap`.

    Args:
        config: Path of the config.
        cloud: (N, columns) float32.
        checkpoint: Where its weights are kept.
        seed: Of the weights.
    """
    from mmdet3d.registry import MODELS

    cfg = Config.fromfile(str(config))
    init_default_scope('mmdet3d')
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    model.init_weights()
    settle(model, cloud)
    if family_of(model) is bevfusion:
        spread_heatmap(model, cloud)
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return load_detector(config, checkpoint)


@torch.no_grad()
def settle(model: nn.Module, cloud: np.ndarray) -> None:
    """Set the statistics of a network's batch norms to those of a cloud, and eval mode."""
    points = [torch.from_numpy(cloud)]
    is_bevfusion = family_of(model) is bevfusion
    part = None if is_bevfusion else pillars.PillarPart(model.eval())
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None
            module.train()
    if is_bevfusion:
        model._forward(dict(points=points), None)
    else:
        part(pillars.pillars_in_torch(model, cloud)[1])
    model.eval()


@torch.no_grad()
def spread_heatmap(model: nn.Module, cloud: np.ndarray) -> None:
    """Scale a BEVFusion detector's heatmaps to those of a trained one: nothing nearly everywhere.

    For each class, weights and bias of the last convolution are changed so that of a cloud's
    logits the median is -4, which is a score of 0.02, and the one farthest from it 2, which is one
    of 0.88. Neighbours among the best of the cells are then some thousandths apart.
    """
    head = model.bbox_head
    last = head.heatmap_head[-1]
    features = model.extract_feat(dict(points=[torch.from_numpy(cloud)]))[0]
    logits = head.forward_single(features)['dense_heatmap'][0].flatten(1)
    median = logits.median(dim=1).values
    away = logits - median[:, None]
    farthest = away.gather(1, away.abs().argmax(dim=1, keepdim=True))[:, 0]
    scale = 6 / farthest  # where that cell lies below the median, the sign of all changes
    last.bias.copy_((last.bias - median) * scale - 4)
    last.weight.mul_(scale[:, None, None, None])


def _map(detector: nn.Module, cloud: np.ndarray) -> np.ndarray:
    return detector.extract_pts_feat(dict(points=[torch.from_numpy(cloud)])).numpy()
