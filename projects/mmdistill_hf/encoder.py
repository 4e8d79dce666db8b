"""What vision and text encoders share: building, weights, freezing."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import nn

from mmdistill_hf.library import transformers
from mmdistill_hf.source import how_to_get, resolve_source

INITS = ('library', 'torch')


class HFEncoder(BaseModule):
    """A model of transformers as an MMEngine module.

    Its architecture is built from ``config``, its weights are read in ``init_weights``: a model
    whose checkpoint holds the encoder, such as a teacher, needs neither network nor folder.

    Args:
        config: Fields of a transformers config with its ``model_type``, or a source
            (:func:`~mmdistill_hf.source.resolve_source`) whose ``config.json`` is read.
        pretrained: Source of the weights; ``None`` starts from random ones.
        pool: What ``forward`` returns; the encoders say which there are.
        frozen: Never trained, always in eval mode, and without gradients.
        init: Random weights as the ``'library'`` draws them, or as ``'torch'``'s layers do.
    """

    POOLS: tuple[str, ...] = ()

    def __init__(
        self,
        config: Mapping[str, Any] | str,
        pretrained: str | None = None,
        pool: str = 'pooler',
        frozen: bool = False,
        init: str = 'library',
    ) -> None:
        super().__init__()
        if pool not in self.POOLS:
            raise ValueError(f'pool of {type(self).__name__} is one of {self.POOLS}, not {pool!r}')
        if init not in INITS:
            raise ValueError(f'init is one of {INITS}, not {init!r}')
        self.pool, self.pretrained, self.frozen, self.init = pool, pretrained, frozen, init
        self.model = build_model(config, pool)
        if frozen:
            self.requires_grad_(False)

    @property
    def out_channels(self) -> int:
        """Channels of what ``forward`` returns."""
        config = self.model.config
        if self.pool == 'projection':
            return config.projection_dim
        return getattr(config, 'hidden_size', None) or config.neck_hidden_sizes[-1]

    def init_weights(self) -> None:
        """Read the pretrained weights, strictly, or draw random ones.

        Raises:
            FileNotFoundError: The weights are not there; says how to get them.
            ValueError: They belong to another architecture; lists the keys.
        """
        # Not BaseModule's: it would call the library's own `init_weights` on top.
        if self.pretrained is not None:
            load_pretrained(self.model, self.pretrained)
        elif self.init == 'torch':
            for module in self.model.modules():
                if hasattr(module, 'reset_parameters'):
                    module.reset_parameters()
        self._is_init = True

    def train(self, mode: bool = True) -> HFEncoder:
        """Change the mode; frozen, the model stays in eval mode."""
        return super().train(mode and not self.frozen)

    def run(self, **inputs: Any) -> Any:
        """Run the library's model, without gradients where it is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self.model(**inputs)


def build_model(config: Mapping[str, Any] | str, pool: str) -> nn.Module:
    """Build a model of transformers, without the parts that a pool leaves unused.

    Raises:
        ValueError: The config has no ``model_type``, or one that the library does not know, or
            no projection where one is asked for.
        FileNotFoundError: The config's source is not there.
    """
    library = transformers()
    config = _read_config(config)
    model_class = library.AutoModel._model_mapping[type(config)]
    if pool == 'projection':
        name = f'{model_class.__name__}WithProjection'
        if not hasattr(library, name):
            raise ValueError(f"pool='projection': transformers has no {name}; choose another pool")
        return getattr(library, name)(config)
    accepts = inspect.signature(model_class.__init__).parameters
    unused = {'add_pooling_layer': False} if pool != 'pooler' else {}
    return model_class(config, **{key: v for key, v in unused.items() if key in accepts})


def load_pretrained(model: nn.Module, source: str) -> None:
    """Read weights into a model, strictly: every parameter gets one of its own shape.

    The library maps the keys, so a checkpoint of a larger model (CLIP's of both towers) fills the
    part that is built. Weights that the model has no place for are left out.

    Raises:
        FileNotFoundError: There are no weights at the source; says how to get them.
        ValueError: Some parameters have no weights there, or of another shape.
    """
    place = resolve_source(source)
    try:
        loaded, info = type(model).from_pretrained(
            place,
            config=model.config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise FileNotFoundError(
            f'the weights {source!r} cannot be read ({reason}); {how_to_get(place, "weights")}'
        ) from error
    own = model.state_dict()
    missing = sorted(set(info['missing_keys']) & set(own))
    other = sorted(str(key) for key in info['mismatched_keys'])
    if missing or other:
        raise ValueError(
            f'the weights of {source} do not fit {type(model).__name__} of the config: '
            f'{_listed("missing", missing)}{_listed("of another shape", other)}; give the config '
            f'the fields of {Path(place) / "config.json"}'
        )
    state = loaded.state_dict()
    model.load_state_dict({key: state[key] for key in own})
    print_log(f'{type(model).__name__}: weights of {source}', logger='current')


def _read_config(config: Mapping[str, Any] | str) -> Any:
    library = transformers()
    if not isinstance(config, Mapping):
        place = resolve_source(config)
        try:
            return library.AutoConfig.from_pretrained(place)
        except OSError as error:
            reason = str(error).splitlines()[0]
            raise FileNotFoundError(
                f'the config of {config!r} cannot be read ({reason}); {how_to_get(place, "config")}'
                ',\nor write its fields into the config: config=dict(model_type=...)'
            ) from error
    fields = dict(config)
    kind = fields.pop('model_type', None)
    known = library.models.auto.configuration_auto.CONFIG_MAPPING
    if kind not in known:
        raise ValueError(
            f"config needs the model_type of a transformers model, such as 'clip_vision_model', "
            f"'vit', 'mobilevit', 'bert' or 'distilbert', not {kind!r}"
        )
    return library.AutoConfig.for_model(kind, **fields)


def _listed(what: str, keys: list[str], most: int = 8) -> str:
    more = f' and {len(keys) - most} more' if len(keys) > most else ''
    return f'{len(keys)} {what} ({", ".join(keys[:most])}{more}) ' if keys else ''
