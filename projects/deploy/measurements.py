"""Which networks are measured on which clouds, for the package's tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from deploy import bench
from deploy.detector import Detector
from deploy.evaluate import with_export
from deploy.export import export
from deploy.frames import clouds_of_config
from deploy.loading import Detector as LoadedDetector
from deploy.loading import load_detector, plain_model

SECTIONS = ('files', 'speed', 'pillars', 'accuracy', 'deploy')

_CONFIGS = 'configs/bevfusion/bevfusion_lidar_student_{}.py'
BEVFUSION = {name: _CONFIGS.format(name.lower()) for name in ('mini', 'S', 'XS', 'XXS')}
PILLARS = {
    'CenterPoint': 'configs/centerpoint/centerpoint_pillar_mini.py',
    'PointPillars': 'configs/pointpillars/pointpillars_mini.py',
}
_PRECISIONS = {'student in ONNX': 'float32', 'student in INT8': 'int8'}
_CALIBRATION_FRAMES = 64


class Networks:
    """The networks of the tables, each made when it is needed first.

    Args:
        folder: For what is written on the way.
        data: The embedded data set.
        dense_data: The embedded data set with as many points as nuScenes.
        frames: Clouds that are compared.
        rounds: Turns of each timed call.
        seed: Of random weights.
        student: Trained checkpoint of the mini student; without one ``accuracy`` and ``deploy``
            have no rows.
        teacher: Trained checkpoint of a teacher; without one its row is left out.
        teacher_config: The teacher's config.
    """

    def __init__(
        self,
        folder: Path,
        data: Path,
        dense_data: Path,
        frames: int,
        rounds: int,
        seed: int,
        student: Path | None,
        teacher: Path | None,
        teacher_config: str,
    ) -> None:
        self.folder, self.data, self.dense_data = folder, data, dense_data
        self.frames, self.rounds, self.seed = frames, rounds, seed
        self.student, self.teacher, self.teacher_config = student, teacher, teacher_config
        self._accuracies: dict[str, dict[str, float]] = {}

    def rows(self, section: str) -> dict[str, Callable[[], dict[str, Any]]]:
        """For each row of a section of the tables, what measures it."""
        if section in ('files', 'speed'):
            return {name: partial(getattr(self, f'_{section}'), name) for name in BEVFUSION}
        if section == 'pillars':
            return {name: partial(self._pillars, name) for name in PILLARS}
        if self.student is None:
            return {}
        if section == 'accuracy':
            names = [f'student in {form}' for form in ('torch', 'ONNX', 'INT8')]
            return {name: partial(self._accuracy, name) for name in names}
        teacher = [] if self.teacher is None else ['teacher in torch']
        names = [*teacher, *(f'student in {form}' for form in ('torch', 'ONNX', 'INT8'))]
        return {name: partial(self._deploy, name) for name in names}

    def describe(self) -> dict[str, Any]:
        """What the tables' footnote says of the measurement."""
        return dict(
            frames=self.frames,
            rounds=self.rounds,
            seed=self.seed,
            dense_azimuths=1080,
            onnxruntime=version('onnxruntime'),
        )

    def _files(self, name: str) -> dict[str, Any]:
        clouds = self._clouds(name)
        detector = self._untrained(BEVFUSION[name], name, clouds[0])
        return bench.measure_file(detector, self.folder / name, clouds)

    def _speed(self, name: str) -> dict[str, float]:
        clouds = self._clouds(name)
        detector = self._untrained(BEVFUSION[name], name, clouds[0])
        if not (self.folder / name).exists():
            export(detector, self.folder / name)
        rounds = self.rounds if name == 'mini' else max(self.rounds // 2, 1)
        return bench.time_bevfusion(detector.model, self.folder / name, clouds, rounds)

    def _pillars(self, name: str) -> dict[str, Any]:
        clouds = self._clouds('mini')
        detector = self._untrained(PILLARS[name], name, clouds[0])
        measured = bench.measure_file(detector, self.folder / name, clouds)
        times = bench.time_pillars(detector.model, self.folder / name, clouds[0], self.rounds)
        return {**measured, **times}

    def _untrained(self, config: str, name: str, cloud: np.ndarray) -> LoadedDetector:
        return bench.untrained(config, cloud, self.folder / f'{name}.pth', self.seed)

    def _clouds(self, name: str) -> list[np.ndarray]:
        cfg = Config.fromfile(BEVFUSION[name])
        data = self.data if name == 'mini' else self.dense_data
        return clouds_of_config(_on(cfg, data), self.frames)

    @cached_property
    def _trained(self) -> LoadedDetector:
        return load_detector(BEVFUSION['mini'], self.student)

    def _exported(self, precision: str) -> Path:
        """Folder of the trained student's export."""
        folder = self.folder / f'student_{precision}'
        if not folder.exists():
            cfg = _on(self._trained.cfg, self.data)
            calibration = clouds_of_config(cfg, _CALIBRATION_FRAMES, of_training=True)
            check = clouds_of_config(cfg, self.frames)
            export(self._trained, folder, 'onnx', precision, check, calibration)
        return folder

    def _accuracy(self, name: str) -> dict[str, float]:
        """mAP and NDS of a row, by the metrics of its config."""
        if name not in self._accuracies:
            detector = self._teacher if name.startswith('teacher') else self._trained
            cfg = _on(detector.cfg, self.data)
            if name in _PRECISIONS:
                cfg = with_export(cfg, self._exported(_PRECISIONS[name]), threads=1)
            else:
                cfg.model, cfg.load_from = plain_model(cfg.model), detector.checkpoint
            cfg.work_dir, cfg.launcher = str(self.folder / 'test'), 'none'
            metrics = Runner.from_cfg(cfg).test()
            found = {key.rsplit('/', 1)[-1]: value for key, value in metrics.items()}
            self._accuracies[name] = {key: float(found[key]) for key in ('mAP', 'NDS')}
        return self._accuracies[name]

    def _deploy(self, name: str) -> dict[str, float]:
        size = _megabytes(self._deployed[name])
        return {'megabytes': size, 'ms': self._deploy_times[name], **self._accuracy(name)}

    @cached_property
    def _teacher(self) -> LoadedDetector:
        return load_detector(self.teacher_config, self.teacher)

    @cached_property
    def _deployed(self) -> dict[str, nn.Module | Detector]:
        """What stands in the rows of the deploy table."""
        rows: dict[str, nn.Module | Detector] = {}
        if self.teacher is not None:
            rows['teacher in torch'] = self._teacher.model
        rows['student in torch'] = self._trained.model
        for name, precision in _PRECISIONS.items():
            rows[name] = Detector(self._exported(precision), threads=1)
        return rows

    @cached_property
    def _deploy_times(self) -> dict[str, float]:
        return bench.time_rows(self._deployed, self._clouds('mini'), self.rounds)


def _on(cfg: Config, data: Path) -> Config:
    """A config whose test data are another folder's."""
    cfg = cfg.copy()
    cfg.test_dataloader.dataset.data_root = f'{data}/'
    cfg.test_evaluator.data_root = f'{data}/'
    cfg.test_evaluator.ann_file = f'{data}/nuscenes_infos_val.pkl'
    return cfg


def _megabytes(model: nn.Module | Detector) -> float:
    """Size of a model's weights in torch, or of an export's files."""
    if isinstance(model, Detector):
        return sum(path.stat().st_size for path in model.files) / 1e6
    tensors: list[torch.Tensor] = list(model.state_dict().values())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6
