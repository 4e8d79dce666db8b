"""A device that computes no numbers, so that reading one is an error: what CUDA would wait for.

Tensors on it have a shape and a type and no content; those on the CPU are real. While a
:class:`Device` is entered, these are errors, as on CUDA they are, or make the host wait:

- tensors of both devices in one operation;
- ``item()``, ``bool()``, ``tolist()`` and whatever else reads a number;
- copies to the host, and from it unless they do not block: ``cpu()``, ``new_tensor([...])``,
  ``torch.tensor(..., device=...)``, an index on the CPU into a tensor on the device;
- results whose shape depends on numbers, such as ``x[mask]`` or ``nonzero()``.

A device changes torch for good, so the tests on it run in a process of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = 'gpu'


def run_in_a_process(cases: Path) -> None:
    """Run the tests of a file, and show what they report if one fails."""
    if not hasattr(backend_registration, '_setup_privateuseone_for_python_backend'):
        pytest.skip(f'torch {torch.__version__} registers no device that is written in Python')
    root = Path(__file__).parents[1]
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(cases)]
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(root), str(root / 'projects')])}
    done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


class Device(TorchDispatchMode):
    """While it is entered, tensors may lie on the device, and its operations are checked."""

    def __init__(self) -> None:
        super().__init__()
        if not hasattr(torch, NAME):
            _register()
        self._fake = FakeTensorMode()
        self._waits: list[str] | None = None

    @contextmanager
    def waits(self, number: int) -> Iterator[None]:
        """Let the host read from the device this many times; it gets made-up numbers."""
        self._waits = []
        yield
        waits, self._waits = self._waits, None
        assert len(waits) == number, waits

    def move(self, module: nn.Module) -> nn.Module:
        """Put parameters and buffers on the device."""
        for part in module.modules():
            for name, value in part._parameters.items():
                if value is not None:
                    moved = value.detach().to(NAME, non_blocking=True)
                    part._parameters[name] = nn.Parameter(moved, value.requires_grad)
            for name, value in part._buffers.items():
                if value is not None:
                    part._buffers[name] = value.to(NAME, non_blocking=True)
        return module

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [item for item in tree_leaves((args, kwargs)) if isinstance(item, Tensor)]
        # A number of the CPU is an argument of the kernel, as a Python number is.
        sources = {item.device.type for item in tensors if item.dim() or item.device.type == NAME}
        target = kwargs.get('device')
        target = torch.device(target).type if target is not None else None
        if NAME not in {*sources, target}:
            return func(*args, **kwargs)
        if len(sources) > 1:
            raise RuntimeError(f'{func} takes tensors on the device and on the CPU')
        if sources == {NAME} and target not in (NAME, None):
            self._wait(func)
            return torch.rand(args[0].shape).to(kwargs.get('dtype') or args[0].dtype)
        if tensors and sources != {NAME} and not kwargs.get('non_blocking'):
            raise RuntimeError(f'{func} copies to the device and blocks')
        args, kwargs = tree_map_only(Tensor, self._as_fake, (args, kwargs))
        with self._fake:
            made_up = _MADE_UP.get(func)
            result = None if made_up is None else made_up(*args, **kwargs)
            if result is None:
                return func(*args, **kwargs)
        self._wait(func)
        return result

    def _wait(self, func: Any) -> None:
        if self._waits is None:
            raise RuntimeError(f'{func} waits for the device')
        self._waits.append(str(func))

    def _as_fake(self, value: Tensor) -> Tensor:
        return value if isinstance(value, FakeTensor) else self._fake.from_tensor(value)


def _register() -> None:
    class Module(backend_registration._DummyBackendModule):
        """What torch asks of a device beside its operations."""

        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.float16, torch.bfloat16]

    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Module())


def _index(values: Tensor, indices: list[Tensor | None]) -> Tensor | None:
    """Some rows, where a mask chooses them."""
    if all(index is None or index.dtype != torch.bool for index in indices):
        return None
    numbers = []
    for index in indices:
        if index is None or index.dtype != torch.bool:
            numbers.append(index)
        else:
            some = torch.zeros(-(-index.numel() // 2), dtype=torch.long, device=NAME)
            numbers += [some] * index.dim()
    return torch.ops.aten.index.Tensor(values, numbers)


def _nonzero(values: Tensor) -> Tensor:
    size = (-(-values.numel() // 2), values.dim())
    return torch.zeros(size, dtype=torch.long, device=NAME)


def _unique_consecutive(
    values: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: Any = None
) -> tuple[Tensor, Tensor, Tensor]:
    some = values[: -(-len(values) // 2)]
    return some, torch.zeros_like(values), torch.ones_like(some)


_MADE_UP = {
    torch.ops.aten._local_scalar_dense.default: lambda value: 1,
    torch.ops.aten.index.Tensor: _index,
    torch.ops.aten.nonzero.default: _nonzero,
    torch.ops.aten.unique_consecutive.default: _unique_consecutive,
}
