"""What a detector's first convolution is given of an image."""

from __future__ import annotations

from typing import Any

from torch import nn


def other_images(student: nn.Module, teacher: nn.Module) -> str | None:
    """Return in what the images differ that two detectors see; None where in nothing.

    Weights that were trained on images in another order of channels, or scaled otherwise, are of
    no use to a first convolution. Detectors that normalise no images see the same.
    """
    mine, theirs = _image_settings(student), _image_settings(teacher)
    different = [key for key in mine if key in theirs and mine[key] != theirs[key]]
    if not different:
        return None
    return ', '.join(f"{key} {mine[key]}, the teacher's {theirs[key]}" for key in different)


def _image_settings(model: nn.Module) -> dict[str, Any]:
    preprocessor = getattr(model, 'data_preprocessor', None)
    if not getattr(preprocessor, '_enable_normalize', False):
        return {}
    settings = {name: getattr(preprocessor, name).flatten().tolist() for name in ('mean', 'std')}
    settings = {name: [round(v, 3) for v in values] for name, values in settings.items()}
    settings['bgr_to_rgb'] = bool(preprocessor._channel_conversion)
    backbones = (getattr(model, name, None) for name in ('img_backbone', 'backbone'))
    style = next((b.style for b in backbones if hasattr(b, 'style')), None)
    return settings if style is None else {**settings, 'style': style}
