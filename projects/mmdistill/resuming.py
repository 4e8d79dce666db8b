"""Resuming a distillation run: whether its links are those it began with, and what is carried over.

An optimizer counts its parameters through, so that a link which came, went or moved would get the
momentum of another one. A training checkpoint therefore names its links and the optimizer's
parameters, in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.optim import OptimWrapper

from mmdistill.checkpoints import STUDENT

_LINKS, _PARAMETERS = 'links', 'optimizer_parameters'  # in the checkpoint's meta


def describe_run(distiller: Any, optim_wrapper: Any) -> dict[str, Any]:
    """Return what a training checkpoint must say so that another run can tell whether it fits."""
    meta = {_LINKS: {name: describe_link(link) for name, link in distiller.links.items()}}
    names = optimizer_parameters(distiller, optim_wrapper)
    return meta if names is None else {**meta, _PARAMETERS: names}


def describe_link(link: Any) -> str:
    """Return a link's loss and its two layers in one line."""
    loss = type(link.loss).__name__
    return f'{loss}: student {link.student} <- {link.teacher_name} {link.teacher}'


def optimizer_parameters(distiller: Any, optim_wrapper: Any) -> list[str] | None:
    """Return the names of an optimizer's parameters in its order; ``None`` where it is not one."""
    if not isinstance(optim_wrapper, OptimWrapper):
        return None
    name_of = {id(parameter): name for name, parameter in distiller.named_parameters()}
    groups = optim_wrapper.optimizer.param_groups
    return [name_of[id(parameter)] for group in groups for parameter in group['params']]


@dataclass(frozen=True)
class LinkChanges:
    """The links of the run that wrote a checkpoint, and those of this run.

    Args:
        then: What each link was.
        now: What each link is.
        kept: Names of the links that are what they were.
    """

    then: dict[str, str]
    now: dict[str, str]
    kept: list[str]

    def __bool__(self) -> bool:
        return not (list(self.then) == list(self.now) == self.kept)

    def __str__(self) -> str:
        lines = ['the links of this run are not those that the checkpoint was written with']
        for title, links in (('then', self.then), ('now', self.now)):
            lines.append(f'  {title}:' + ('' if links else ' none'))
            lines += [f'    {name} ({text})' for name, text in links.items()]
        return '\n'.join(lines)


def compare_links(distiller: Any, checkpoint: Mapping[str, Any]) -> LinkChanges:
    """Compare a distiller's links with those of a checkpoint that is to be resumed.

    Args:
        distiller: The distiller.
        checkpoint: Its weights under a distiller's names. One from before links were written down
            is compared by the links that have weights; a plain run's has none.
    """
    weights, own = checkpoint['state_dict'], distiller.state_dict()
    now = {name: describe_link(link) for name, link in distiller.links.items()}
    then = checkpoint['meta'].get(_LINKS)
    if then is None:
        stored = dict.fromkeys(name.split('.')[1] for name in weights if name.startswith('links.'))
        then = {name: now.get(name, 'not described') for name in stored}
        if 'teachers' in checkpoint['meta']:
            now = {name: text for name, text in now.items() if _weights_of_link(own, name)}
    kept = [
        name
        for name, text in now.items()
        if then.get(name) == text
        and _weights_of_link(weights, name).keys() == _weights_of_link(own, name).keys()
        and all(
            weights[key].shape == parameter.shape
            for key, parameter in distiller.links[name].named_parameters(prefix=f'links.{name}')
        )
    ]
    for name, text in now.items():
        if name not in kept and then.get(name) == text:
            now[name] = f'{text}, with weights of other names or shapes'
    return LinkChanges(then, now, kept)


def carry_over(
    distiller: Any, checkpoint: dict[str, Any], changes: LinkChanges, optim_wrapper: Any
) -> None:
    """Edit a checkpoint so that this run can go on from it with other links.

    The student and the links that are what they were keep weights, averages and momentum; other
    links start anew.

    Raises:
        ValueError: The optimizer's state cannot be told apart by names.
    """
    own = distiller.state_dict()
    anew = {name for name in own if _is_lost(name, changes.kept)}
    for key, prefix in (('state_dict', ''), ('ema_state_dict', 'module.')):
        weights = checkpoint.get(key)
        if weights is None:
            continue
        for name in [n for n in weights if _is_lost(n.removeprefix(prefix), changes.kept)]:
            del weights[name]
        weights.update({prefix + name: own[name].clone() for name in anew})
    if 'optimizer' in checkpoint:
        then = _parameters(distiller, checkpoint)
        now = optimizer_parameters(distiller, optim_wrapper)
        lost = {name for name in now or () if _is_lost(name, changes.kept)}
        checkpoint['optimizer'] = _reorder(checkpoint['optimizer'], then, now, lost, optim_wrapper)


def same_parameters(distiller: Any, checkpoint: Mapping[str, Any], optim_wrapper: Any) -> bool:
    """Whether an optimizer's parameters are those of a checkpoint, as far as it names them."""
    then = checkpoint['meta'].get(_PARAMETERS)
    return then in (None, optimizer_parameters(distiller, optim_wrapper))


def _reorder(
    stored: dict[str, Any],
    then: list[str] | None,
    now: list[str] | None,
    lost: set[str],
    optim_wrapper: Any,
) -> dict[str, Any]:
    """Return an optimizer's state for parameters in another order, without those that are lost."""
    if then is not None and then == now and not lost:
        return stored
    groups = stored['param_groups']
    if now is None or len(groups) != 1 or len(optim_wrapper.optimizer.param_groups) != 1:
        raise ValueError(
            'with several optimizers or groups of parameters (paramwise_cfg) nothing can be '
            'carried over to other links: start a new run with load_from=CHECKPOINT and '
            'resume=False'
        )
    indices = groups[0]['params']
    if then is None or len(then) != len(indices):
        raise ValueError(
            f"the checkpoint does not name the optimizer's {len(indices)} parameters, so that "
            'nothing can be carried over to other links: start a new run with '
            'load_from=CHECKPOINT and resume=False'
        )
    index = dict(zip(then, indices, strict=True))
    state = {
        position: stored['state'][index[name]]
        for position, name in enumerate(now)
        if name in index and name not in lost and index[name] in stored['state']
    }
    group = {key: value for key, value in groups[0].items() if key != 'param_names'}
    return {**stored, 'state': state, 'param_groups': [{**group, 'params': list(range(len(now)))}]}


def _parameters(distiller: Any, checkpoint: Mapping[str, Any]) -> list[str] | None:
    """Names of the parameters of a checkpoint's optimizer; a plain run's are the student's."""
    if 'teachers' not in checkpoint['meta']:
        return [STUDENT + name for name, _ in distiller.student.named_parameters()]
    return checkpoint['meta'].get(_PARAMETERS)


def _is_lost(name: str, kept: Sequence[str]) -> bool:
    return name.startswith('links.') and name.split('.')[1] not in kept


def _weights_of_link(weights: Mapping[str, Any], name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in weights.items() if key.startswith(f'links.{name}.')}
