"""A plan as a config file that a person would have written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdistill.apis.checks import REPOSITORY
from mmdistill3d.planning.plan import INIT_HOOK, Plan

HOOKS_FILE = REPOSITORY / 'configs' / '_base_' / 'distill' / 'hooks.py'
PLAIN_IMPORTS = ['bevfusion', 'mmdistill']  # as the plain configs of this repository
LINE = 100


def distillation_config(
    plan: Plan, out: Path, student: str, cfg: Config, teacher: Mapping[str, Any], command: str
) -> str:
    """Write the text of a distillation config.

    Args:
        plan: What is linked.
        out: Where the file will be; paths of its bases are relative to it.
        student: The student's config as a path from the working folder, or ``'package::path'``.
        cfg: Its content.
        teacher: The teacher as a distiller takes it.
        command: Named in the file's head.
    """
    names = [type(side.model).__name__ for side in (plan.pair.student, plan.pair.teacher)]
    model = plan.model(student, dict(teacher))
    bases = [os.path.relpath(HOOKS_FILE, out.parent), base_name(student, out)]
    lines = [
        f'# {names[0]} taught by {names[1]}, recipe {plan.recipe}.',
        f'# Written by {command}; from here on it is a config like any other.',
        *laid_out('_base_ = ', bases),
        f'custom_imports = dict(imports={_imports(cfg)}, allow_failed_imports=False)',
        '',
        'model = dict(',
        '    _delete_=True,',
    ]
    for key in ('type', 'student', 'teacher'):
        lines += laid_out(f'{key}=', model[key], 4, ',')
    lines.append('    links=dict(')
    for link in plan.links:
        lines += [f'        # {line}' for line in link.reason.splitlines()]
        lines += laid_out(f'{link.name}=', link.config, 8, ',')
    lines += ['    ),', ')', f'custom_hooks = {_hooks(cfg, plan)}']
    return '\n'.join(lines) + '\n'


def student_config(
    base: str, out: Path, cfg: Config, changes: Mapping[str, Any], comments: Sequence[str]
) -> str:
    """Write the text of a plain detector's config that differs from its base by some entries.

    Args:
        base: The base as a path from the working folder, or ``'package::path'``.
        out: Where the file will be.
        cfg: The base's content.
        changes: Entries of its ``model``.
        comments: Lines at its head.
    """
    lines = [f'# {comment}' for comment in comments]
    lines += laid_out('_base_ = ', [base_name(base, out)])
    if not cfg.get('custom_imports'):
        lines.append(f'custom_imports = dict(imports={PLAIN_IMPORTS}, allow_failed_imports=False)')
    lines += ['', *laid_out('model = ', changes)]
    return '\n'.join(lines) + '\n'


def write_new(path: Path, text: str, overwrite: bool = False) -> None:
    """Write a file, and its folder.

    Raises:
        FileExistsError: It is there, and is not to be overwritten.
    """
    demand_new(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')


def demand_new(path: Path, overwrite: bool = False) -> None:
    """Refuse a file that is there.

    Raises:
        FileExistsError: It is there, and is not to be overwritten.
    """
    if path.exists() and not overwrite:
        raise FileExistsError(f'{path} exists: name another file, or add --overwrite')


def base_name(config: str, out: Path) -> str:
    """Return how a config beside ``out`` names another one as its base."""
    return config if '::' in config else os.path.relpath(config, out.parent)


def laid_out(prefix: str, value: Any, indent: int = 0, end: str = '') -> list[str]:
    """Return the lines of a value in Python, as ruff formats them."""
    line = ' ' * indent + prefix + _text(value) + end
    if len(line) <= LINE or not isinstance(value, (Mapping, list, tuple)):
        return [line]
    opening, closing = _brackets(value)
    items = [(f'{k}=', v) for k, v in value.items()] if isinstance(value, Mapping) else None
    lines = [' ' * indent + prefix + opening]
    for name, item in items or [('', item) for item in value]:
        lines += laid_out(name, item, indent + 4, ',')
    return [*lines, ' ' * indent + closing + end]


def _text(value: Any) -> str:
    """A value in one line of Python."""
    if isinstance(value, Mapping):
        return f'dict({", ".join(f"{key}={_text(item)}" for key, item in value.items())})'
    if isinstance(value, (list, tuple)):
        opening, closing = _brackets(value)
        comma = ',' if isinstance(value, tuple) and len(value) == 1 else ''
        return opening + ', '.join(map(_text, value)) + comma + closing
    return repr(value)


def _brackets(value: Any) -> tuple[str, str]:
    if isinstance(value, Mapping):
        return 'dict(', ')'
    return ('[', ']') if isinstance(value, list) else ('(', ')')


def _imports(cfg: Config) -> str:
    """What the student's config imports, and the two packages of the distillation."""
    known = (cfg.get('custom_imports') or {}).get('imports') or []
    known = [known] if isinstance(known, str) else known
    own = [name for name in known if name not in ('mmdistill', 'mmdistill3d', 'bevfusion')]
    return _text([*own, 'bevfusion', 'mmdistill3d'])


def _hooks(cfg: Config, plan: Plan) -> str:
    """The student's hooks, those of a distillation and the one of the start, each once."""
    own = {hook['type'] for hook in Config.fromfile(HOOKS_FILE).distill_hooks}
    hooks = cfg.get('custom_hooks') or []
    others = [hook for hook in hooks if hook['type'] not in own]
    if not others:
        parts = []
    elif len(others) == len(hooks):
        parts = ['_base_.custom_hooks']
    else:
        twice = sorted({hook['type'] for hook in hooks} & own)
        parts = [f'[hook for hook in _base_.custom_hooks if hook.type not in {_text(twice)}]']
    parts.append('_base_.distill_hooks')
    if plan.inherits:
        parts.append(_text([INIT_HOOK]))
    return ' + '.join(parts)
