"""Whether what exports need beyond the repository's own requirements is installed."""

from __future__ import annotations

from importlib.util import find_spec

NEEDED = ('onnx', 'onnxscript', 'onnxruntime')


def require_extra() -> None:
    """Check that the packages of the extra ``deploy`` are there.

    Raises:
        OSError: Naming those that are not, and the command that installs them.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise OSError(f'exports need {", ".join(missing)}: pip install -e ".[deploy]"')
