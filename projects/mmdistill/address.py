"""Layer addresses: which module of a model, and which part of what it returns or takes."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any

from torch import nn

_TOKEN = re.compile(r'\.?(?P<name>\w+)|\[(?P<item>-?\w+)\]')
# Containers that are indexed in Python and never called: `blocks[0]` is a child, not an output.
_CONTAINERS = (nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class LayerAddress:
    """One tensor (or structure of tensors) that a model computes.

    The text form is the module path followed by selectors into what the module returns:
    ``pts_backbone[1]``, ``bbox_head.heatmap_head``, ``bbox_head[0][0].heatmap``. ``[1]`` indexes a
    tuple or list, ``[key]`` a dict, and ``.name``, after a bracket, a dict key or an attribute.
    ``[0]`` after an ``nn.ModuleList`` picks the child module.

    The dict form adds what text cannot say::

        dict(layer='pts_neck[0]', source='input', call=1, clone=True)

    Args:
        module: Dotted path of the module below the model.
        selectors: Selectors applied to the module's output or input, in order.
        source: ``'output'``, or ``'input'``. For inputs the first selector is a position (int) or
            the keyword's name.
        call: Which call of a module that runs several times in one forward pass: an index, or
            ``'all'`` for the list of every call. ``None`` demands exactly one call.
        clone: Record a copy, for layers whose result is changed in place afterwards.
    """

    module: str
    selectors: tuple[int | str, ...] = ()
    source: str = 'output'
    call: int | str | None = None
    clone: bool = False

    def __post_init__(self) -> None:
        if self.source not in ('output', 'input'):
            raise ValueError(f"source is 'output' or 'input', not {self.source!r}")
        if not (self.call is None or self.call == 'all' or isinstance(self.call, int)):
            raise ValueError(f"call is an index, 'all' or None, not {self.call!r}")
        if isinstance(self.call, int) and self.call < 0:
            raise ValueError(f'call counts from 0, got {self.call}')
        if self.source == 'input' and not self.selectors:
            raise ValueError(
                f"source='input' of {self.module!r} needs a selector: the position of the argument "
                f"('{self.module}[0]') or its keyword ('{self.module}[name]')"
            )

    @classmethod
    def parse(cls, spec: str | dict | LayerAddress, model: nn.Module, role: str) -> LayerAddress:
        """Resolve a config's address against a model.

        Args:
            spec: Text form, dict form, or an address that is returned after a check of its module.
            model: The model that owns the layer.
            role: How errors call the model, e.g. ``'student'``.

        Raises:
            KeyError: The model has no such module; the message lists the nearest real names.
            ValueError: The text is no address, or the dict form has unknown keys.
        """
        if isinstance(spec, LayerAddress):
            find_module(model, spec.module, role)
            return spec
        options: dict[str, Any] = {}
        if isinstance(spec, dict):
            options = dict(spec)
            text = options.pop('layer', None)
            unknown = set(options) - {'source', 'call', 'clone'}
            if text is None or unknown:
                raise ValueError(
                    f'a layer address as a dict takes layer, source, call and clone; got {spec}'
                )
        else:
            text = spec
        if not isinstance(text, str) or not text:
            raise ValueError(
                f"the {role}'s layer is a path such as 'pts_neck[0]' or a dict(layer=...), "
                f'got {text!r}'
            )
        module, selectors = _split(text, model, role)
        return cls(module, selectors, **options)

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
                    f'{key!r} (address {self})'
                ) from error
        return value

    def __str__(self) -> str:
        text = self.module + format_selectors(self.selectors)
        if self.source == 'input':
            text += ' (input)'
        return text if self.call is None else f'{text} (call {self.call})'


def find_module(model: nn.Module, path: str, role: str = 'model') -> nn.Module:
    """Return the module at a dotted path, or raise a ``KeyError`` that lists the nearest names."""
    module = model
    for name in path.split('.'):
        child = module._modules.get(name)
        if child is None:
            raise _unknown_path(path, model, role)
        module = child
    return module


def format_selectors(selectors: tuple[int | str, ...]) -> str:
    return ''.join(f'[{key}]' for key in selectors)


def describe(value: Any) -> str:
    """Say in a few words what a recorded value is: type, shape, length or keys."""
    if hasattr(value, 'shape'):
        return f'{type(value).__name__} of shape {tuple(value.shape)}'
    if hasattr(value, 'features') and hasattr(value, 'indices'):
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
        name, item = match['name'], match['item']
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
            selectors.append(int(key) if re.fullmatch(r'-?\d+', key) else key)
        end = match.end()
    if end != len(text) or not path:
        raise ValueError(
            f"{text!r} is no layer address: write a module path and selectors, e.g. 'pts_neck[0]' "
            f"or 'bbox_head[0][0].heatmap'"
        )
    return '.'.join(path), tuple(selectors)


def _pick(value: Any, key: int | str) -> Any:
    if isinstance(key, str) and not isinstance(value, dict):
        return getattr(value, key)
    return value[key]


def _unknown_path(path: str, model: nn.Module, role: str) -> KeyError:
    names = [name for name, _ in model.named_modules() if name]
    plain = re.sub(r'\[.*', '', path)
    near = difflib.get_close_matches(plain, names, n=5, cutoff=0.5)
    top = [name for name, _ in model.named_children()]
    hint = f'nearest: {near}; ' if near else ''
    return KeyError(
        f'the {role} ({type(model).__name__}) has no layer {path!r}; {hint}its top level: {top}'
    )
