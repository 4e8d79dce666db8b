"""Layer addresses: which module of a model, and which part of what it returns or takes."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from mmdistill.reading.sparse import is_sparse

# A child or key: `.name`, `[name]`, `[0]`, or any text in quotes, `['a.b']`.
_TOKEN = re.compile(
    r"""\.?(?P<name>\w+)|\[(?P<item>-?\w+)\]|\[(?P<quote>['"])(?P<text>.*?)(?P=quote)\]"""
)
# Containers that are indexed in Python and never called: `blocks[0]` is a child, not an output.
_CONTAINERS = (nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class LayerAddress:
    """A module of a model, and selectors into what it returns or takes.

    The text form is the module path followed by selectors: ``pts_backbone[1]``,
    ``bbox_head.heatmap_head``, ``bbox_head[0][0].heatmap``. ``[1]`` indexes a tuple or list,
    ``[key]`` or ``['any text']`` a dict, and ``.name``, after a bracket, a dict key or an
    attribute. ``[0]`` after an ``nn.ModuleList`` picks the child module.

    Args:
        module: Dotted path of the module below the model; empty for the model itself.
        selectors: Selectors applied to the module's output or input, in order.
    """

    module: str
    selectors: tuple[int | str, ...] = ()

    @classmethod
    def parse(cls, text: str, model: nn.Module, role: str = 'model') -> LayerAddress:
        """Resolve an address against a model.

        Args:
            text: The address.
            model: The model that owns the layer.
            role: How errors call the model, e.g. ``'student'``.

        Raises:
            KeyError: The model has no such module; the message lists the nearest real names.
            ValueError: The text is no address.
        """
        if not isinstance(text, str) or not text:
            raise ValueError(
                f"the {role}'s layer is a path such as 'pts_neck[0]' or a dict(layer=...), "
                f'got {text!r}'
            )
        return cls(*_split(text, model, role))

    def select(self, value: Any) -> Any:
        """Apply the selectors to a module's output (or to ``args`` of an input).

        Raises:
            KeyError: A selector does not fit the structure; the message describes what is there.
        """
        for depth, key in enumerate(self.selectors):
            try:
                value = _pick(value, key)
            except (KeyError, IndexError, AttributeError, TypeError) as error:
                seen = format_selectors(self.selectors[:depth])
                raise KeyError(
                    f'layer {self.module}{seen} is {describe(value)}, which has no '
                    f'{key!r} (address {self}){_why(value, key)}'
                ) from error
        return value

    def __str__(self) -> str:
        return self.module + format_selectors(self.selectors)


def find_module(model: nn.Module, path: str, role: str = 'model') -> nn.Module:
    """Return the module at a dotted path, or raise a ``KeyError`` that lists the nearest names."""
    module = model
    for name in path.split('.') if path else ():
        child = module._modules.get(name)
        if child is None:
            raise _unknown_path(path, model, role)
        module = child
    return module


def format_selectors(selectors: tuple[int | str, ...]) -> str:
    return ''.join(
        f'[{key}]' if re.fullmatch(r'-?\w+', str(key)) else f'[{key!r}]' for key in selectors
    )


def describe(value: Any) -> str:
    """Say in a few words what a recorded value is: type, shape, length or keys."""
    if isinstance(value, (Tensor, np.ndarray)):
        return f'{type(value).__name__} of shape {tuple(value.shape)}'
    if is_sparse(value):
        return f'{type(value).__name__} of {tuple(value.features.shape)} features'
    if isinstance(value, dict):
        return f'a dict with keys {sorted(map(str, value))}'
    if isinstance(value, (tuple, list)):
        return f'a {type(value).__name__} of {len(value)}'
    return f'of type {type(value).__name__}'


def _split(text: str, model: nn.Module, role: str) -> tuple[str, tuple[int | str, ...]]:
    """Split text into the longest module path and the selectors behind it."""
    module, path, selectors, end = model, [], [], 0
    for match in _TOKEN.finditer(text):
        if match.start() != end:
            break
        name = match['name']
        item = match['item'] if match['text'] is None else match['text']
        is_child = not selectors and (name is not None or isinstance(module, _CONTAINERS))
        if selectors and name is not None and not match[0].startswith('.'):
            break
        if not selectors and isinstance(module, nn.Sequential) and (item or '').isdigit():
            raise ValueError(
                f'{text!r}: {".".join(path)} is a Sequential; its child is '
                f"'{'.'.join(path)}.{item}', and [{item}] would cut its output along the batch"
            )
        if is_child:
            child = module._modules.get(name if name is not None else item)
            if child is None:
                raise _unknown_path(text, model, role)
            module = child
            path.append(name if name is not None else item)
        else:
            key = name if name is not None else item
            is_number = match['text'] is None and re.fullmatch(r'-?\d+', key)
            selectors.append(int(key) if is_number else key)
        end = match.end()
    if end != len(text) or not path:
        raise ValueError(
            f"{text!r} is no layer address: write a module path and selectors, e.g. 'pts_neck[0]' "
            f"or 'bbox_head[0][0].heatmap'"
        )
    return '.'.join(path), tuple(selectors)


def _pick(value: Any, key: int | str) -> Any:
    if isinstance(value, Tensor) and isinstance(key, int):
        raise TypeError('a number would take one sample of the batch')
    if isinstance(key, str) and not isinstance(value, dict):
        return getattr(value, key)
    return value[key]


def _why(value: Any, key: int | str) -> str:
    if isinstance(value, Tensor) and isinstance(key, int):
        return f': [{key}] would take one sample out of the batch; leave it out'
    return ''


def _unknown_path(path: str, model: nn.Module, role: str) -> KeyError:
    names = [name for name, _ in model.named_modules() if name]
    plain = re.sub(r'\[.*', '', path)
    near = difflib.get_close_matches(plain, names, n=5, cutoff=0.5)
    top = [name for name, _ in model.named_children()]
    hint = f'nearest: {near}; ' if near else ''
    return KeyError(
        f'the {role} ({type(model).__name__}) has no layer {path!r}; {hint}its top level: {top}'
    )
