"""Weights to ship: alone, in half precision, with a note of where they come from."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmdistill.checkpoints import student_part
from mmdistill.utils.checkpoint import load_weights
from mmdistill.utils.files import sha256, written_whole


def publish_weights(checkpoint: str | Path, out: str | Path, note: Mapping[str, Any]) -> dict:
    """Write a checkpoint's weights as a small file, and a note beside it.

    Floating-point weights are stored in float16, which halves the file; loading copies them into
    the model's float32 parameters. Optimizer, schedules and the message hub are left out; the
    classes (``meta.dataset_meta``) stay.

    Args:
        checkpoint: A training checkpoint, or its weights alone; of a distillation run's the
            student is published.
        out: The file to write; the note lies beside it, with the suffix ``.json``.
        note: What the note shall say: command, commit, seed, metrics.

    Returns:
        The note as written: ``file``, ``sha256``, ``bytes``, ``parameters``, and what was given.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: A weight is not finite, or too large for float16.

    Example:
        >>> publish_weights('epoch_5.pth', 'teacher.pth', dict(seed=0))  # doctest: +SKIP
    """
    content = load_weights(str(checkpoint))
    is_distillers = 'teachers' in content.get('meta', {})
    trained = (is_distillers and student_part(content['state_dict'])) or content['state_dict']
    weights = OrderedDict((key, _halve(key, value)) for key, value in trained.items())
    weights._metadata = getattr(trained, '_metadata', OrderedDict())
    meta = {key: content.get('meta', {})[key] for key in ('dataset_meta', 'epoch', 'iter')
            if key in content.get('meta', {})}  # fmt: skip
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(out) as partial:
        torch.save(dict(meta=meta, state_dict=weights), partial)
    written = dict(
        file=out.name,
        sha256=sha256(out),
        bytes=out.stat().st_size,
        parameters=sum(v.numel() for v in weights.values() if v.is_floating_point()),
        **note,
    )
    out.with_suffix('.json').write_text(json.dumps(written, indent=2) + '\n')
    return written


def _halve(key: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value.clone()
    half = value.half()
    if not bool(half.isfinite().all()):
        raise ValueError(
            f'{key} does not fit float16 (largest value {value.abs().max():.3g}); '
            'a network with such weights has diverged: publish an earlier checkpoint'
        )
    return half.clone()
