"""A picture of clips: their frames, how much each counts, what is true and what is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videocls.models import FrameAttention


def draw_contact_sheet(
    model: nn.Module, batch: dict[str, Any], classes: Sequence[str], path: str | Path
) -> None:
    """Draw one row a clip: frames with the weight of each below, true and predicted class.

    Args:
        model: A :class:`~videocls.models.VideoClassifier`; without attention, every frame counts
            alike.
        batch: Clips and samples as a data loader gives them, blue first.
        classes: Names of the classes.
        path: PNG file to write.
    """
    from matplotlib.figure import Figure

    scores, weights = predict(model, batch)
    clips = [clip.permute(0, 2, 3, 1).flip(-1).numpy() for clip in batch['inputs']]
    columns = len(clips[0])
    figure = Figure(figsize=(1.1 * columns + 1.8, 1.25 * len(clips)), layout='constrained')
    axes = figure.subplots(len(clips), columns, squeeze=False)
    for row, clip, sample, own, weight in zip(
        axes, clips, batch['data_samples'], scores, weights, strict=True
    ):
        guess = int(own.argmax())
        for axis, frame, share in zip(row, clip, weight.tolist(), strict=True):
            axis.imshow(frame)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlabel(f'{100 * share:.0f} %', fontsize=7)
            for side in axis.spines.values():
                side.set(linewidth=0.5 + 6 * share, color='tab:orange')
        row[0].set_ylabel(
            f'{classes[sample.label]}\n→ {classes[guess]} {100 * float(own[guess]):.0f} %',
            rotation=0,
            ha='right',
            va='center',
            fontsize=8,
            color='tab:green' if guess == sample.label else 'tab:red',
        )
    figure.savefig(path, dpi=110)


@torch.no_grad()
def predict(model: nn.Module, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores ``(B, classes)`` and the weights of the frames ``(B, T)``.

    Args:
        model: A :class:`~videocls.models.VideoClassifier`.
        batch: As a data loader gives it.
    """
    seen: list[torch.Tensor] = []
    attention = next((m for m in model.modules() if isinstance(m, FrameAttention)), None)
    handle = None
    if attention is not None:
        handle = attention.register_forward_hook(lambda _m, _args, output: seen.append(output))
    try:
        samples = model.eval().test_step(batch)
    finally:
        if handle is not None:
            handle.remove()
    scores = torch.stack([sample.scores for sample in samples]).cpu()
    frames = len(batch['inputs'][0])
    weights = seen[0].cpu() if seen else torch.full((len(scores), frames), 1 / frames)
    return scores, weights
