"""Teacher: a frozen, trained model that computes what the links read and nothing else."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.logging import print_log
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmdistill.checkpoints import for_plain_model, weights_of
from mmdistill.classes import checkpoint_classes, config_classes, name_classes
from mmdistill.reading.address import describe
from mmdistill.reading.passes import MODES, pass_of
from mmdistill.reading.recorder import FeatureRecorder, Recording, Spec, map_structure
from mmdistill.teacher_cache import TeacherCache
from mmdistill.utils.checkpoint import load_weights


class Teacher:
    """A frozen model outside the student's state.

    It is deliberately no ``nn.Module``: as a plain attribute of the distiller it is in no
    ``state_dict``, optimizer, EMA copy or DDP bucket, and ``train()`` never reaches it. Its
    weights are read by :meth:`load`, which the distiller calls when training starts, so that
    testing a student needs no teacher file.

    Args:
        config: Path of a config file, ``'package::path'`` of an installed package's config,
            a ``dict(model=...)``, or the model's dict itself.
        checkpoint: Path or URL of its weights; ``RUN/best`` and ``RUN/last`` are files of a run
            (:func:`~mmdistill.utils.run_checkpoint.resolve_checkpoint`).
        allow_random_weights: Accept ``checkpoint=None``, for dry runs and benchmarks only.
        cache: Folder in which to keep what the linked layers returned for each batch, for later
            runs on the same batches; see :class:`~mmdistill.teacher_cache.TeacherCache`.
        mode: Mode of the model's ``forward`` in which it runs, ``'predict'`` or ``'tensor'``;
            default the one in which its layers see whole samples
            (:func:`~mmdistill.reading.passes.pass_of`).
        name: How errors and logs call this teacher.

    Raises:
        ValueError: There is no checkpoint, or the mode is unknown.
    """

    def __init__(
        self,
        config: str | Path | dict | Config,
        checkpoint: str | None = None,
        allow_random_weights: bool = False,
        cache: str | Path | None = None,
        mode: str | None = None,
        name: str = 'teacher',
    ) -> None:
        if mode not in (None, *MODES):
            raise ValueError(f'the {name} runs in a mode out of {MODES}, not {mode!r}')
        if checkpoint is None and not allow_random_weights:
            raise ValueError(
                f'the {name} has no checkpoint: give the path or URL of its trained weights '
                '(teacher.checkpoint); a random teacher teaches nothing'
            )
        self.name = name
        self.checkpoint = checkpoint
        self.meta: dict[str, Any] = {}
        config = read_config(config, name)
        self.model_config = read_model_config(config, name)
        self.model = MODELS.build(copy.deepcopy(self.model_config))
        name_classes(self.model, config_classes(config), f'config of the {name}')
        self.model.eval().requires_grad_(False)
        self.mode = mode or pass_of(self.model)
        self.is_loaded = checkpoint is None
        self.cache_folder = None if cache is None else Path(cache)
        self._recorder: FeatureRecorder | None = None
        self._fingerprint: str | None = None

    def watch(self, layers: Iterable[Spec]) -> None:
        """Say what links read.

        Raises:
            KeyError: A layer does not exist; the message lists the nearest names.
        """
        self._recorder = FeatureRecorder(self.model, layers, role=self.name)

    def demand_predictions(self, are_needed: bool = True) -> None:
        """Refuse what needs predictions of a model whose pass makes none.

        Raises:
            ValueError: They are needed, and the model runs in another mode than ``predict``.
        """
        if are_needed and self.mode != 'predict':
            raise ValueError(
                f"links or targets need the {self.name}'s predictions, and "
                f'{type(self.model).__name__} runs in mode {self.mode!r}, where its layers see '
                'whole samples: it makes none. '
                "Take its classes from a linked layer, or let it predict whole samples (test_cfg's "
                "mode='whole') and set teacher.mode='predict'"
            )

    @contextmanager
    def run(self, *args: Any, to_end: bool = False, **kwargs: Any) -> Iterator[Recording]:
        """Run the model up to its last watched layer and yield what was recorded.

        The pass is the model's own ``predict`` under ``no_grad``, cut short: no loss, no label
        assignment and nothing behind the last watched layer, except now and then to count calls
        (:meth:`~mmdistill.reading.FeatureRecorder.may_stop`). Models that predict from pieces of
        a sample run as ``tensor``, and have no predictions.

        Args:
            *args: What the model's ``forward`` takes.
            to_end: Do not cut the pass short, so that ``recording.predictions`` holds what
                ``predict`` returned, in samples of its own. Boxes are not made for half
                precision, so such a pass is not under autocast.
            **kwargs: What the model's ``forward`` takes.
        """
        self.load()
        assert self._recorder is not None, 'watch() names the layers before run()'
        cache, key, known = self._cached(args, kwargs, to_end)
        with self._recorder.record() as recording:
            if known is None:
                size, shared = _batch_size((args, kwargs)), []
                with (
                    self._precision(to_end),
                    torch.no_grad(),
                    recording.listen(stop_early=not to_end, batch_size=size),
                ):
                    if to_end or not recording.is_complete:  # parameters need no pass
                        # A model may write into its input, as PillarFeatureNet does; and where the
                        # pass runs to its end, predictions must not land in the student's batch.
                        samples = not recording.stops_early
                        (args, kwargs), shared = _own_copy((args, kwargs), samples)
                        recording.predictions = self.model(*args, **kwargs, mode=self.mode)
                _demand_unchanged(shared, self.name)
            else:
                recording.restore(known)
            if cache is not None and known is None:
                cache.write(key, {r: recording[r] for r in self._recorder.recorders})
            yield recording

    @property
    def device(self) -> torch.device:
        """Where its parameters lie."""
        return next(self.model.parameters()).device

    def _precision(self, to_end: bool) -> AbstractContextManager:
        return torch.autocast(self.device.type, enabled=False) if to_end else nullcontext()

    def _cached(
        self, args: tuple, kwargs: dict, to_end: bool
    ) -> tuple[TeacherCache | None, str, dict | None]:
        """Return the cache, the batch's name in it, and what it knows of the batch."""
        if self.cache_folder is None or to_end:
            return None, '', None
        mode = '' if self.mode == 'predict' else f'_{self.mode}'
        cache = TeacherCache(self.cache_folder / f'{self.fingerprint()[:16]}{mode}')
        key = cache.key((args, kwargs), self.device)
        return cache, key, cache.read(key, self._recorder.recorders, self.device)

    def load(self) -> None:
        """Load the weights once, strictly.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: Keys are missing, unexpected or of another shape; the message lists them.
        """
        if self.is_loaded:
            return
        try:
            checkpoint = load_weights(self.checkpoint)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'the {self.name} has {error}; train it, or set teacher.checkpoint to the file '
                'that holds its weights'
            ) from error
        load_strictly(self.model, checkpoint['state_dict'], f'{self.name} ({self.checkpoint})')
        self.meta = checkpoint.get('meta') or {}
        name_classes(self.model, checkpoint_classes(checkpoint), self.checkpoint)
        self.is_loaded = True
        print_log(f'{self.name}: weights of {self.checkpoint}', logger='current')

    def fingerprint(self) -> str:
        """Return a hash of the config and the loaded weights, the same on every machine."""
        self.load()
        if self._fingerprint is None:
            self._fingerprint = self._hash()
        return self._fingerprint

    def _hash(self) -> str:
        digest = hashlib.sha256(_canonical(self.model_config).encode())
        for key, value in sorted(self.model.state_dict().items()):
            array = value.detach().cpu().contiguous()
            digest.update(f'{key}{tuple(array.shape)}{array.dtype}'.encode())
            digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def __deepcopy__(self, memo: dict) -> Teacher:
        """Return itself: copies of the distiller (EMA) share the one teacher."""
        return self


def load_strictly(model: nn.Module, state_dict: dict, what: str) -> None:
    """Load weights; a missing, unexpected or mis-shaped key is a ``ValueError`` that lists all.

    Of a distillation run's training checkpoint the student is loaded.
    """
    state_dict = for_plain_model(weights_of({'state_dict': state_dict}), model.state_dict())
    mismatched = ''
    result = None
    try:
        result = model.load_state_dict(state_dict, strict=False)
    except RuntimeError as error:
        mismatched = str(error).partition('\n')[2]
    own = set(model.state_dict())
    missing = sorted(result.missing_keys if result else own - set(state_dict))
    unexpected = sorted(result.unexpected_keys if result else set(state_dict) - own)
    if not (missing or unexpected or mismatched):
        return
    report = [f'the weights of the {what} do not fit {type(model).__name__}:']
    report += [f'  missing    ({len(missing)}): {_shorten(missing)}'] if missing else []
    report += [f'  unexpected ({len(unexpected)}): {_shorten(unexpected)}'] if unexpected else []
    report += [f'  other shape:\n{mismatched}'] if mismatched else []
    report.append('  give the config that this file was trained with, or the file of this config')
    raise ValueError('\n'.join(report))


def read_config(config: str | Path | dict | Config, name: str) -> dict | Config:
    """Return a whole config; of a model's dict, one with nothing but the model.

    Args:
        config: As of :func:`read_model_config`.
        name: How errors call the model.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if isinstance(config, (dict, Config)):
        return config if 'model' in config else {'model': config}
    if '::' in str(config):
        return get_config(str(config))
    if Path(config).is_file():
        return Config.fromfile(config)
    raise FileNotFoundError(
        f'the {name} config {config} does not exist below {Path.cwd()}; run from the folder it '
        "is relative to, or write an absolute path or 'package::path'"
    )


def read_model_config(config: str | Path | dict | Config, name: str) -> ConfigDict:
    """Return the ``model`` of a config, with the registry scope that its config file names.

    Args:
        config: Path of a config file, ``'package::path'`` of an installed package's config,
            a ``dict(model=...)``, or the model's dict itself.
        name: How errors call the model.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The config has no model.
    """
    loaded = read_config(config, name)
    model = ConfigDict(copy.deepcopy(dict(loaded.get('model') or {})))
    if 'type' not in model:
        raise ValueError(f'the {name} config is one without model.type: {sorted(model)}')
    if loaded.get('default_scope'):
        model.setdefault('_scope_', loaded.get('default_scope'))
    return model


def _own_copy(value: Any, samples: bool) -> tuple[Any, list[tuple[Tensor, int]]]:
    """Copy what a model may write into; share the rest.

    Integers are shared: sites of voxels that teacher and student have in common are known by being
    one tensor (:func:`~mmdistill.rulebooks.shared_rulebooks`).

    Args:
        value: Arguments of a model's ``forward``.
        samples: Copy data samples, too.

    Returns:
        The copy; the shared tensors, each with its version.
    """
    shared: list[tuple[Tensor, int]] = []

    def copy_item(item: Any) -> Any:
        if isinstance(item, Tensor) and item.is_floating_point():
            return item.clone()
        if isinstance(item, Tensor):
            shared.append((item, item._version))
        return item.clone() if samples and isinstance(item, BaseDataElement) else item

    return map_structure(copy_item, value), shared


def _demand_unchanged(shared: list[tuple[Tensor, int]], name: str) -> None:
    for tensor, version in shared:
        if tensor._version != version:
            raise RuntimeError(
                f"the {name} wrote into {describe(tensor)} of its batch, which is the student's, "
                'too; let it work on a copy'
            )


def _batch_size(value: Any) -> int | None:
    """Samples in what a model takes: the length of the first list or tensor in it."""
    if isinstance(value, Tensor):
        return len(value) if value.dim() else None
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, list):
        return len(value)
    sizes = map(_batch_size, value) if isinstance(value, tuple) else ()
    return next((size for size in sizes if size is not None), None)


def _canonical(config: Any) -> str:
    return json.dumps(config, sort_keys=True, default=str)


def _shorten(keys: list[str], most: int = 12) -> str:
    more = f' ... and {len(keys) - most} more' if len(keys) > most else ''
    return ', '.join(keys[:most]) + more
