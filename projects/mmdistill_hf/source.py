"""Where weights and tokenizers come from: a folder, an installed package, or the hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def resolve_source(source: str | Path) -> str:
    """Return what transformers' ``from_pretrained`` takes.

    ==========================  ==========================================================
    source                      meaning
    ==========================  ==========================================================
    ``checkpoints/clip``        a folder that ``save_pretrained`` wrote
    ``package::model``          the folder ``model`` within an installed package
    ``openai/clip-vit-base``    a repository of the hub, or its copy in the local cache
    ==========================  ==========================================================

    Raises:
        FileNotFoundError: The package or folder is not there.
    """
    text = str(source)
    if '::' in text:
        return str(_package_folder(text))
    if Path(text).is_dir():
        return text
    # `owner/name` may be either; what is clearly a path must exist.
    if text.startswith(('.', '/', '~')) or text.count('/') > 1:
        raise FileNotFoundError(
            f'no folder {text} (seen from {Path.cwd()}); name one that save_pretrained wrote, '
            "'package::folder', or a repository of the hub"
        )
    return text


def how_to_get(source: str, kind: str) -> str:
    """Return what to do when a source cannot be read."""
    if Path(source).is_dir():
        files = ', '.join(sorted(path.name for path in Path(source).iterdir())) or 'nothing'
        return f'{source} holds {files}; write it again with save_pretrained'
    return (
        f'where there is a network, fetch the {kind} once:\n'
        f'    hf download {source} --local-dir checkpoints/{Path(source).name}\n'
        f'and name that folder (checkpoints/{Path(source).name}) in the config'
    )


def _package_folder(text: str) -> Path:
    package, _, inside = text.partition('::')
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f'{text}: there is no installed package {package!r}; pip install it (perhaps '
            f'pip install --no-deps {package.replace("_", "-")})'
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / inside
    if not folder.is_dir():
        there = ', '.join(sorted(p.name for p in folder.parent.glob('*') if p.is_dir()))
        raise FileNotFoundError(f'{text}: no folder {folder}; beside it: {there or "none"}')
    return folder
