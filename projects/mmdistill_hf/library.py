"""The transformers library, imported when something of it is first used."""

from __future__ import annotations

from types import ModuleType

import torch

VERSION = '5.24.0'
INSTALL = f'pip install transformers=={VERSION}'
LOWEST_TORCH = (2, 6)


def transformers() -> ModuleType:
    """Return the library; importing it takes seconds, so nobody does at the top of a file.

    Raises:
        ImportError: It is not installed, or torch is too old for it; names the command.
    """
    version = tuple(int(part) for part in torch.__version__.split('.')[:2])
    if version < LOWEST_TORCH:
        raise ImportError(
            f'transformers {VERSION} needs torch >= 2.6, this is {torch.__version__}: install a '
            'newer torch for configs with encoders of transformers'
        )
    try:
        import transformers as library
    except ModuleNotFoundError as error:
        if error.name != 'transformers':
            raise
        raise ImportError(
            f'this config has an encoder or tokenizer of transformers, which is not installed: '
            f'{INSTALL}  (or pip install -e .[video])'
        ) from error
    return library
