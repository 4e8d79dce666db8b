"""What can be read from a model while it runs: outputs, inputs, parameters, a method's result."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from mmengine.registry import TASK_UTILS
from torch import nn

from mmdistill.reading.address import LayerAddress, find_module

Store = Callable[[Any, Callable[[Any], Any]], None]
"""Takes a raw value and what selects the wanted part of it."""


@dataclass(frozen=True)
class Recorder(ABC):
    """One value that a model computes; built from a config, and the key of what it recorded.

    A recorder of your own is a frozen dataclass below this one, in MMEngine's ``TASK_UTILS``, that
    says in :meth:`attach` where its value appears.

    Args:
        layer: Where it is, see :class:`~mmdistill.LayerAddress`.
        call: Which call of a module that runs several times in one forward pass: an index, or
            ``'all'`` for the list of every call. ``None`` demands exactly one call.
        clone: Record a copy, for values that are changed in place afterwards.
    """

    layer: str
    call: int | str | None = None
    clone: bool = False

    def __post_init__(self) -> None:
        if not (self.call is None or self.call == 'all' or isinstance(self.call, int)):
            raise ValueError(f"call is an index, 'all' or None, not {self.call!r}")
        if isinstance(self.call, int) and self.call < 0:
            raise ValueError(f'call counts from 0, got {self.call}')

    @abstractmethod
    def attach(self, model: nn.Module, role: str, store: Store) -> Callable[[], None]:
        """Begin to listen, and return what ends that.

        Paths are resolved here, at each pass: a module may have been replaced since the last one.

        Args:
            model: The model that is about to run.
            role: How errors call the model.
            store: To be called with each raw value, and with what selects the wanted part.

        Raises:
            KeyError: The model has no such layer; the message lists the nearest names.
        """

    def check(self, model: nn.Module, role: str) -> None:
        """Raise what :meth:`attach` would, before the first pass."""
        self.attach(model, role, lambda *_: None)()

    def address(self, model: nn.Module, role: str = 'model') -> LayerAddress:
        """Return the module and the selectors that ``layer`` means in a model."""
        return LayerAddress.parse(self.layer, model, role)

    def __str__(self) -> str:
        return self.layer if self.call is None else f'{self.layer} (call {self.call})'


@TASK_UTILS.register_module()
@dataclass(frozen=True)
class ModuleOutputs(Recorder):
    """What a module returns; the string address is its short form.

    Config lines::

        student='pts_neck[0]'
        student=dict(type='ModuleOutputs', layer='pts_neck[0]', call=1, clone=True)
    """

    def attach(self, model: nn.Module, role: str, store: Store) -> Callable[[], None]:
        """Listen to a module's calls, also those that bypass ``__call__``."""
        address = self.address(model, role)
        module = find_module(model, address.module, role)

        def after(_args: tuple, _kwargs: dict, output: Any) -> None:
            store(output, address.select)

        return listen_to(module, after=after)


@TASK_UTILS.register_module()
@dataclass(frozen=True)
class ModuleInputs(Recorder):
    """What a module takes: the first selector is a position, or the name of an argument.

    Config lines::

        student=dict(type='ModuleInputs', layer='pts_backbone[0]')
        student=dict(type='ModuleInputs', layer='bbox_head[feats][0]')
    """

    def attach(self, model: nn.Module, role: str, store: Store) -> Callable[[], None]:
        """Listen to what a module is called with."""
        address = self.address(model, role)
        if not address.selectors:
            raise ValueError(
                f'the inputs of {self.layer!r} need a selector: the position of the argument '
                f"('{self.layer}[0]') or its name ('{self.layer}[name]')"
            )
        module = find_module(model, address.module, role)
        signature = inspect.signature(module.forward)

        def before(args: tuple, kwargs: dict) -> None:
            by_position = isinstance(address.selectors[0], int)
            given = args if by_position else signature.bind(*args, **kwargs).arguments
            store(given, address.select)

        return listen_to(module, before=before)

    def __str__(self) -> str:
        return f'{super().__str__()} (input)'


@TASK_UTILS.register_module()
@dataclass(frozen=True)
class Parameters(Recorder):
    """A parameter or buffer itself, as it is when the pass begins.

    Config lines::

        student=dict(type='Parameters', layer='bbox_head.class_encoding.weight')
    """

    def attach(self, model: nn.Module, role: str, store: Store) -> Callable[[], None]:
        """Read the parameter at once."""
        path, _, name = self.layer.rpartition('.')
        module = find_module(model, path, role)
        own = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers())}
        if name not in own:
            raise KeyError(
                f'the {role} has no parameter or buffer {self.layer!r}; {path or "the model"} has '
                f'{sorted(own)}'
            )
        store(own[name], lambda value: value)
        return lambda: None


@TASK_UTILS.register_module()
@dataclass(frozen=True)
class MethodResult(Recorder):
    """What a method of a module, or of the model itself, returns.

    Config lines::

        student=dict(type='MethodResult', layer='bbox_head', method='predict_by_feat')
        student=dict(type='MethodResult', layer='', method='extract_feat', select='[1][0]')

    Args:
        layer: Path of the module; empty for the model itself.
        method: Name of the method.
        select: Selectors into the result, as of a layer address.
    """

    method: str = ''
    select: str = ''

    def attach(self, model: nn.Module, role: str, store: Store) -> Callable[[], None]:
        """Listen to the calls of the method."""
        module = find_module(model, self.layer, role)
        original = getattr(module, self.method, None)
        if not callable(original):
            methods = [name for name, _ in inspect.getmembers(type(module), inspect.isfunction)]
            raise KeyError(
                f"the {role}'s {self.layer or 'model'} ({type(module).__name__}) has no method "
                f'{self.method!r}; it has {sorted(n for n in methods if n[0] != "_")}'
            )
        # Any path will do before the selectors; the model's children need not be named here.
        selectors = LayerAddress.parse(f'result{self.select}', _Result(), role).selectors
        address = LayerAddress(str(self), selectors)

        @functools.wraps(original)
        def method(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            store(result, address.select)
            return result

        return _replace(module, self.method, method)

    def __str__(self) -> str:
        text = f'{self.layer}.{self.method}()'.lstrip('.')
        return text if self.call is None else f'{text} (call {self.call})'


class _Result(nn.Module):
    """Stands for a method's result where its selectors are parsed."""

    def __init__(self) -> None:
        super().__init__()
        self.result = nn.Identity()


def build_recorder(spec: str | Mapping[str, Any] | Recorder) -> Recorder:
    """Build a recorder from a config's ``student`` or ``teacher``.

    Args:
        spec: A layer address; the config of a recorder; ``dict(layer=..., call=..., clone=...)``,
            outputs, or inputs with ``source='input'``; or a recorder, which is returned.

    Raises:
        ValueError: The config has unknown keys.
        KeyError: The type is in no registry.
    """
    if isinstance(spec, Recorder):
        return spec
    if not isinstance(spec, Mapping):
        return ModuleOutputs(spec)
    config = dict(spec)
    source = config.pop('source', 'output')
    if source not in ('output', 'input'):
        raise ValueError(f"source is 'output' or 'input', not {source!r}")
    config.setdefault('type', 'ModuleInputs' if source == 'input' else 'ModuleOutputs')
    kind = TASK_UTILS.get(config['type']) if isinstance(config['type'], str) else config['type']
    if kind is not None:
        known = {field.name for field in fields(kind)} | {'type'}
        if 'layer' not in config or not set(config) <= known:
            raise ValueError(
                f'a layer address as a dict takes {sorted(known | {"source"})}, and needs layer; '
                f'got {dict(spec)}'
            )
    return TASK_UTILS.build(config)


def listen_to(
    module: nn.Module,
    before: Callable[[tuple, dict], None] | None = None,
    after: Callable[[tuple, dict, Any], None] | None = None,
) -> Callable[[], None]:
    """Call functions around each pass of a module; return what ends that.

    Hooks see what other hooks made of inputs and outputs, but not ``module.forward(...)``: there,
    a wrapped ``forward`` takes their place.
    """
    is_called = False

    def enter(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        nonlocal is_called
        is_called = True
        if before is not None:
            before(args, kwargs)

    def leave(_module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        nonlocal is_called
        is_called = False
        if after is not None:
            after(args, kwargs, output)

    original = module.forward

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if is_called:
            return original(*args, **kwargs)
        if before is not None:
            before(args, kwargs)
        output = original(*args, **kwargs)
        if after is not None:
            after(args, kwargs, output)
        return output

    handles = [
        module.register_forward_pre_hook(enter, with_kwargs=True),
        module.register_forward_hook(leave, with_kwargs=True),
    ]
    restore = _replace(module, 'forward', forward)

    def stop() -> None:
        restore()
        for handle in handles:
            handle.remove()

    return stop


def _replace(owner: Any, name: str, value: Any) -> Callable[[], None]:
    """Set an attribute of an object, and return what undoes it."""
    own = vars(owner)
    before = own.get(name)
    object.__setattr__(owner, name, value)

    def restore() -> None:
        if before is None:
            object.__delattr__(owner, name)
        else:
            object.__setattr__(owner, name, before)

    return restore
