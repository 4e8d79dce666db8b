"""BEVFusion's LiDAR branch as an MMDetection3D detector."""

from __future__ import annotations

import copy

import torch
from mmdet3d.models import Base3DDetector
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from torch import Tensor

from .geometry import check_bev_grid, encoder_with_geometry, head_with_geometry
from .voxelize import Voxelization

_CAMERA_PARTS = ('img_backbone', 'img_neck', 'view_transform', 'fusion_layer', 'seg_head')

Voxels = tuple[Tensor, Tensor, Tensor]


@MODELS.register_module()
class BEVFusion(Base3DDetector):
    """Voxels, sparse encoder, BEV backbone and neck, TransFusion head.

    BEVFusion (Liu et al., ICRA 2023), LiDAR only; keys and outputs are those of the project in
    MMDetection3D, so its LiDAR configs and checkpoints work.

    Args:
        data_preprocessor: Config of the data preprocessor. Its ``voxelize_cfg`` is taken out
            and configures :class:`Voxelization`; ``voxelize_reduce`` in there must be True.
        pts_voxel_encoder: Accepted because published configs name it; voxels are averaged.
        pts_middle_encoder: Sparse encoder; ``sparse_shape`` may be left out.
        pts_backbone: BEV backbone.
        pts_neck: BEV neck.
        bbox_head: Detection head; the sizes that follow from the other parts may be left out
            (:func:`bevfusion.geometry.head_with_geometry`).
        init_cfg: Initialisation.

    Raises:
        ValueError: If ``voxelize_cfg`` is missing, a camera part is configured, or the BEV map
            does not have the size and channels that the head expects.
    """

    def __init__(
        self,
        data_preprocessor: dict | None = None,
        pts_voxel_encoder: dict | None = None,
        pts_middle_encoder: dict | None = None,
        pts_backbone: dict | None = None,
        pts_neck: dict | None = None,
        bbox_head: dict | None = None,
        init_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        preprocessor = copy.deepcopy(data_preprocessor) or {}
        voxelize_cfg = preprocessor.pop('voxelize_cfg', None)
        self._check_config(voxelize_cfg, kwargs)
        # Built here, by MMDetection3D's registry, so that no default scope has to be set.
        preprocessor.setdefault('type', 'Det3DDataPreprocessor')
        super().__init__(data_preprocessor=MODELS.build(preprocessor), init_cfg=init_cfg)
        voxelize_cfg.pop('voxelize_reduce', True)
        self.pts_voxel_layer = Voxelization(**voxelize_cfg)
        if pts_voxel_encoder is not None:
            self.pts_voxel_encoder = MODELS.build(pts_voxel_encoder)
        self.pts_middle_encoder = MODELS.build(
            encoder_with_geometry(pts_middle_encoder, self.pts_voxel_layer)
        )
        self.pts_backbone = MODELS.build(pts_backbone)
        self.pts_neck = MODELS.build(pts_neck)
        self.bbox_head = MODELS.build(head_with_geometry(bbox_head, self))
        check_bev_grid(self)

    @staticmethod
    def _check_config(voxelize_cfg: dict | None, others: dict) -> None:
        camera = [name for name in _CAMERA_PARTS if others.get(name) is not None]
        if camera:
            raise ValueError(
                f'the config has {camera}; this package is the LiDAR branch alone. Remove them, '
                "or use MMDetection3D's own BEVFusion project for LiDAR + camera"
            )
        # mmdet3d.apis set train_cfg to None in the config of any model.
        allowed = {*_CAMERA_PARTS, *(['train_cfg'] if others.get('train_cfg') is None else [])}
        unknown = sorted(set(others) - allowed)
        if unknown:
            raise ValueError(f'BEVFusion does not know the arguments {unknown}')
        if voxelize_cfg is None:
            raise ValueError(
                'data_preprocessor has no voxelize_cfg; give it voxel_size, point_cloud_range, '
                'max_num_points and max_voxels'
            )
        if not voxelize_cfg.get('voxelize_reduce', True):
            raise ValueError('voxelize_reduce is False; the sparse encoder needs averaged voxels')

    def loss(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs
    ) -> dict[str, Tensor]:
        """Losses of a batch; see :meth:`extract_feat` for the inputs."""
        metas = [sample.metainfo for sample in batch_data_samples]
        feats = self.extract_feat(batch_inputs_dict, metas)
        return self.bbox_head.loss(feats, batch_data_samples)

    def predict(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample], **kwargs
    ) -> list[Det3DDataSample]:
        """The samples with ``pred_instances_3d``: ``bboxes_3d``, ``scores_3d``, ``labels_3d``."""
        metas = [sample.metainfo for sample in batch_data_samples]
        feats = self.extract_feat(batch_inputs_dict, metas)
        results = self.bbox_head.predict(feats, metas)
        return self.add_pred_to_datasample(batch_data_samples, results)

    def _forward(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample] | None = None
    ) -> tuple[list[dict[str, Tensor]]]:
        """Raw outputs of the head."""
        metas = [sample.metainfo for sample in batch_data_samples or []]
        return self.bbox_head(self.extract_feat(batch_inputs_dict, metas), metas)

    def extract_feat(
        self, batch_inputs_dict: dict, batch_input_metas: list[dict] | None = None
    ) -> list[Tensor]:
        """BEV maps of the neck.

        Args:
            batch_inputs_dict: ``points``, a list of (N, C) clouds; optionally ``pts_voxels``,
                the result of :meth:`voxelize` for them, which is then not computed again.
            batch_input_metas: Unused; part of the interface.

        Returns:
            A list with the map (B, C, X, Y).
        """
        return self.pts_neck(self.pts_backbone(self.extract_pts_feat(batch_inputs_dict)))

    def extract_pts_feat(self, batch_inputs_dict: dict) -> Tensor:
        """Map (B, C * D, X, Y) of the sparse encoder; inputs as in :meth:`extract_feat`."""
        points = batch_inputs_dict['points']
        voxels = batch_inputs_dict.get('pts_voxels')
        feats, coords, _ = self.voxelize(points) if voxels is None else voxels
        expected = getattr(self.pts_middle_encoder, 'in_channels', feats.shape[1])
        if feats.shape[1] != expected:
            raise ValueError(
                f'points have {feats.shape[1]} columns, and in_channels of pts_middle_encoder is '
                f'{expected}: set in_channels={feats.shape[1]}, or let the pipeline load '
                f'{expected} columns (use_dim of LoadPointsFromFile and LoadPointsFromMultiSweeps)'
            )
        return self.pts_middle_encoder(feats, coords, len(points))

    @torch.no_grad()
    def voxelize(self, points: list[Tensor]) -> Voxels:
        """Averaged voxels of a batch.

        Args:
            points: (N, C) per sample, N may be 0.

        Returns:
            Mean features (M, C) float32; (M, 4) int32 sample, x, y, z; number of points (M,).
        """
        feats, coords, counts = [], [], []
        for index, cloud in enumerate(points):
            voxels, cells, num_points = self.pts_voxel_layer(cloud.float())
            feats.append(self.pts_voxel_layer.reduce(voxels, num_points))
            coords.append(torch.nn.functional.pad(cells, (1, 0), value=index))
            counts.append(num_points)
        return torch.cat(feats), torch.cat(coords), torch.cat(counts)
