"""TransFusion's detection head on a LiDAR BEV map."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet3d.models.dense_heads.centerpoint_head import SeparateHead
from mmdet3d.registry import MODELS, TASK_UTILS
from mmdet3d.structures import Det3DDataSample
from mmengine.model import BaseModule, ModuleList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from .boxes import constants
from .height_tag import demand_heights, tag_heights
from .nms import class_nms
from .targets import TransFusionTargets, make_targets

# Classes small enough for neighbouring cells to hold two objects: no peak suppression.
_SMALL_CLASSES = {'nuScenes': (8, 9), 'Waymo': (1, 2)}
_PRIOR_BIAS = -2.19  # sigmoid gives 0.1
_CODES = ('center', 'height', 'dim', 'rot', 'vel')


@MODELS.register_module()
class TransFusionHead(BaseModule):
    """Queries from the peaks of a class heatmap, refined by attention to the BEV map.

    TransFusion (Bai et al., CVPR 2022), as used by BEVFusion (Liu et al., ICRA 2023). Nothing
    that ``forward`` returns is changed by ``loss_by_feat`` or ``predict_by_feat``.

    Args:
        num_proposals: Number of queries P.
        auxiliary: Supervise every decoder layer, not only the last.
        in_channels: Channels of the BEV map.
        hidden_channel: Channels of queries and keys.
        num_classes: Number of classes.
        num_decoder_layers: Number of decoder layers.
        decoder_layer: Config of a decoder layer.
        nms_kernel_size: Odd window, in cells, in which only the largest score is a peak.
        bn_momentum: Momentum of the batch norms of the head.
        common_heads: (channels, number of convolutions) per box output.
        num_heatmap_convs: Convolutions of the class output.
        loss_cls: Loss of the class logits; must be a sigmoid loss.
        loss_bbox: Loss of the box codes.
        loss_heatmap: Loss of the dense heatmap.
        train_cfg: ``point_cloud_range``, ``grid_size``, ``voxel_size``, ``out_size_factor``,
            ``gaussian_overlap``, ``min_radius``, ``pos_weight``, ``code_weights``, ``assigner``.
        test_cfg: ``dataset``, ``grid_size``, ``out_size_factor``, ``nms_type`` (None, 'circle'
            or 'rotate').
        bbox_coder: Config of the box coder.

    Raises:
        ValueError: If ``loss_cls`` is no sigmoid loss, the peak window is even, the box outputs,
            ``code_size`` and ``code_weights`` differ in length, or there are more queries than
            places on the heatmap.
    """

    def __init__(
        self,
        num_proposals: int = 128,
        auxiliary: bool = True,
        in_channels: int = 128 * 3,
        hidden_channel: int = 128,
        num_classes: int = 4,
        num_decoder_layers: int = 3,
        decoder_layer: dict | None = None,
        num_heads: int = 8,
        nms_kernel_size: int = 1,
        bn_momentum: float = 0.1,
        common_heads: dict | None = None,
        num_heatmap_convs: int = 2,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        bias: str | bool = 'auto',
        loss_cls: dict | None = None,
        loss_bbox: dict | None = None,
        loss_heatmap: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        bbox_coder: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        loss_cls = loss_cls or dict(type='mmdet.FocalLoss', use_sigmoid=True)
        if not loss_cls.get('use_sigmoid', False):
            raise ValueError(
                f'loss_cls is {loss_cls}; TransFusionHead scores its classes with a sigmoid, '
                'so give a loss with use_sigmoid=True (mmdet.FocalLoss)'
            )
        if nms_kernel_size % 2 != 1:
            raise ValueError(f'nms_kernel_size is {nms_kernel_size}; it must be odd')
        self.num_classes = num_classes
        self.num_proposals = num_proposals
        self.auxiliary = auxiliary
        self.in_channels = in_channels
        self.num_decoder_layers = num_decoder_layers
        self.nms_kernel_size = nms_kernel_size
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg
        self.bbox_coder = TASK_UTILS.build(bbox_coder)
        self.bbox_assigner = TASK_UTILS.build(train_cfg['assigner']) if train_cfg else None
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_bbox = MODELS.build(loss_bbox or dict(type='mmdet.L1Loss'))
        self.loss_heatmap = MODELS.build(loss_heatmap or dict(type='mmdet.GaussianFocalLoss'))

        self.shared_conv = nn.Conv2d(in_channels, hidden_channel, 3, padding=1)
        self.heatmap_head = nn.Sequential(
            ConvModule(
                hidden_channel,
                hidden_channel,
                kernel_size=3,
                padding=1,
                bias=bias,
                conv_cfg=dict(type='Conv2d'),
                norm_cfg=dict(type='BN2d'),
            ),
            nn.Conv2d(hidden_channel, num_classes, 3, padding=1),
        )
        self.class_encoding = nn.Conv1d(num_classes, hidden_channel, 1)
        self.decoder = ModuleList(
            [MODELS.build(copy.deepcopy(decoder_layer)) for _ in range(num_decoder_layers)]
        )
        heads = {**(common_heads or {}), 'heatmap': (num_classes, num_heatmap_convs)}
        self.prediction_heads = ModuleList(
            [
                SeparateHead(
                    hidden_channel,
                    dict(heads),
                    conv_cfg=conv_cfg or dict(type='Conv1d'),
                    norm_cfg=norm_cfg or dict(type='BN1d'),
                    bias=bias,
                )
                for _ in range(num_decoder_layers)
            ]
        )
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = bn_momentum
        factor = test_cfg['out_size_factor']
        self.grid_xy = tuple(int(cells) // factor for cells in test_cfg['grid_size'][:2])
        self.register_buffer('bev_pos', self.create_2D_grid(*self.grid_xy), persistent=False)
        self._register_state_dict_hook(tag_heights)
        # Class of each query of the last forward; `forward` also returns it.
        self.query_labels: Tensor | None = None
        self._check_sizes({name: heads[name][0] for name in _CODES if name in heads})

    def _check_sizes(self, outputs: dict[str, int]) -> None:
        """Compare the lengths of box outputs, codes and weights, and queries with places."""
        places = self.num_classes * self.grid_xy[0] * self.grid_xy[1]
        if self.num_proposals > places:
            raise ValueError(
                f'num_proposals is {self.num_proposals}, and the heatmap has {places} places: '
                f'{self.num_classes} classes x {self.grid_xy[0]} x {self.grid_xy[1]} cells; lower '
                'num_proposals'
            )
        size, codes = getattr(self.bbox_coder, 'code_size', None), sum(outputs.values())
        if size is not None and outputs and size != codes:
            raise ValueError(
                f'common_heads give {codes} numbers for a box ({outputs}), code_size of the '
                f'bbox_coder is {size}: set code_size to 10 with vel in common_heads, to 8 without'
            )
        weights = (self.train_cfg or {}).get('code_weights')
        if size is not None and weights is not None and len(weights) != size:
            raise ValueError(
                f'train_cfg.code_weights has {len(weights)} numbers, code_size of the bbox_coder '
                f'is {size}; give a weight for each code, the last two for velocity if size is 10'
            )

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, local_metadata: dict, *args: Any
    ) -> None:
        """Refuse weights whose heights are of something else of a box than the coder's."""
        demand_heights(self.bbox_coder, local_metadata)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def init_weights(self) -> None:
        """Xavier for the decoder, and a low first score for every class."""
        super().init_weights()
        for parameter in self.decoder.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.constant_(self.heatmap_head[-1].bias, _PRIOR_BIAS)

    @staticmethod
    def create_2D_grid(x_size: int, y_size: int) -> Tensor:
        """Cell centres (1, X * Y, 2) in cells, x-major."""
        x, y = torch.meshgrid(torch.arange(x_size), torch.arange(y_size), indexing='ij')
        return (torch.stack((x, y), dim=-1).float() + 0.5).view(1, -1, 2)

    def forward(
        self, feats: Tensor | Sequence[Tensor], metas: list[dict] | None = None
    ) -> tuple[list[dict[str, Tensor]]]:
        """Raw outputs of a batch.

        Args:
            feats: The BEV map (B, in_channels, X, Y), or a list that holds it alone.
            metas: Unused; part of the interface.

        Returns:
            ``([outputs],)``: ``center`` (B, 2, P) in cells, ``height``, ``dim``, ``rot``, ``vel``
            and class logits ``heatmap`` (B, ., P), those of all decoder layers side by side if
            ``auxiliary``; ``query_heatmap_score`` (B, num_classes, P); ``dense_heatmap`` logits
            (B, num_classes, X, Y); ``query_labels`` (B, P); ``query_feature`` (B, hidden_channel,
            P), what the last layer's boxes and classes are read from.
        """
        if not isinstance(feats, Tensor):
            if len(feats) != 1:
                raise ValueError(f'TransFusionHead reads one map, got {len(feats)}')
            feats = feats[0]
        return ([self.forward_single(feats)],)

    def forward_single(self, bev: Tensor) -> dict[str, Tensor]:
        """Raw outputs of one map; see :meth:`forward`."""
        shared = self.shared_conv(bev)
        if tuple(shared.shape[2:]) != self.grid_xy:
            raise ValueError(
                f'the BEV map has {tuple(shared.shape[2:])} cells, the head expects '
                f'{self.grid_xy} = grid_size // out_size_factor of its test_cfg'
            )
        with torch.autocast(shared.device.type, enabled=False):
            dense_heatmap = self.heatmap_head(shared.float())
        labels, cells, scores = self._select_queries(dense_heatmap.detach())
        self.query_labels = labels

        keys = shared.flatten(2)
        query = keys.gather(2, cells[:, None].expand(-1, keys.shape[1], -1))
        one_hot = F.one_hot(labels, self.num_classes).transpose(1, 2)
        query = query + self.class_encoding(one_hot.to(query.dtype))
        key_pos = self.bev_pos.expand(len(bev), -1, -1)
        query_pos = key_pos.gather(1, cells[..., None].expand(-1, -1, 2))

        layers = []
        for decoder, head in zip(self.decoder, self.prediction_heads, strict=True):
            query = decoder(query, key=keys, query_pos=query_pos, key_pos=key_pos)
            outputs = head(query)
            outputs['center'] = outputs['center'] + query_pos.transpose(1, 2)
            layers.append(outputs)
            query_pos = outputs['center'].detach().transpose(1, 2)
        if self.auxiliary:
            merged = {k: torch.cat([out[k] for out in layers], dim=-1) for k in layers[0]}
        else:
            merged = dict(layers[-1])
        merged.update(query_heatmap_score=scores, dense_heatmap=dense_heatmap, query_labels=labels)
        merged['query_feature'] = query
        return merged

    def loss(self, batch_feats, batch_data_samples: list[Det3DDataSample]) -> dict[str, Tensor]:
        """Losses of a batch; see :meth:`loss_by_feat`."""
        outputs = self(batch_feats, [sample.metainfo for sample in batch_data_samples])
        return self.loss_by_feat(outputs, [sample.gt_instances_3d for sample in batch_data_samples])

    def loss_by_feat(
        self,
        preds_dicts: Sequence[list[dict[str, Tensor]]],
        batch_gt_instances_3d: list[InstanceData],
        *args,
        **kwargs,
    ) -> dict[str, Tensor]:
        """Losses of raw outputs.

        Args:
            preds_dicts: What :meth:`forward` returned.
            batch_gt_instances_3d: ``bboxes_3d`` and ``labels_3d`` per sample, maybe empty.

        Returns:
            ``loss_heatmap``; ``layer_i_loss_cls`` and ``layer_i_loss_bbox`` per supervised
            decoder layer, the last one named ``layer_-1``; ``matched_ious``, which is no loss.
        """
        outputs = {k: v.float() for k, v in preds_dicts[0][0].items() if k != 'query_labels'}
        targets = self.get_targets(batch_gt_instances_3d, preds_dicts[0])
        probability = outputs['dense_heatmap'].sigmoid().clamp(1e-4, 1 - 1e-4)
        num_peaks = targets.heatmap.eq(1).sum().clamp(min=1)
        losses = dict(
            loss_heatmap=self.loss_heatmap(probability, targets.heatmap, avg_factor=num_peaks)
        )
        num_layers = self.num_decoder_layers if self.auxiliary else 1
        boxes = torch.cat([outputs[k] for k in _CODES if k in outputs], dim=1).transpose(1, 2)
        logits = outputs['heatmap'].transpose(1, 2)
        for layer in range(num_layers):
            prefix = 'layer_-1' if layer == num_layers - 1 else f'layer_{layer}'
            span = slice(layer * self.num_proposals, (layer + 1) * self.num_proposals)
            cls, box = self._layer_losses(logits[:, span], boxes[:, span], targets, span)
            losses[f'{prefix}_loss_cls'], losses[f'{prefix}_loss_bbox'] = cls, box
        losses['matched_ious'] = targets.matched_iou
        return losses

    def get_targets(
        self,
        batch_gt_instances_3d: list[InstanceData],
        preds_dict: Sequence[dict[str, Tensor]],
    ) -> TransFusionTargets:
        """Match the queries of a batch and draw its heatmaps."""
        return make_targets(
            batch_gt_instances_3d,
            preds_dict[0],
            coder=self.bbox_coder,
            assigner=self.bbox_assigner,
            train_cfg=self.train_cfg,
            num_classes=self.num_classes,
            num_proposals=self.num_proposals,
            grid_xy=self.grid_xy,
        )

    def predict(self, batch_feats, batch_input_metas: list[dict]) -> list[InstanceData]:
        """Boxes of a batch; see :meth:`predict_by_feat`."""
        return self.predict_by_feat(self(batch_feats, batch_input_metas), batch_input_metas)

    @torch.no_grad()
    def predict_by_feat(
        self,
        preds_dicts: Sequence[list[dict[str, Tensor]]],
        metas: list[dict],
        *args,
        **kwargs,
    ) -> list[InstanceData]:
        """Boxes of raw outputs.

        Args:
            preds_dicts: What :meth:`forward` returned.
            metas: ``box_type_3d`` per sample.

        Returns:
            Per sample ``bboxes_3d`` (N, 9), ``scores_3d`` (N,), ``labels_3d`` (N,).
        """
        outputs = preds_dicts[0][0]
        labels = outputs.get('query_labels', self.query_labels)
        last = {
            k: outputs[k][..., -self.num_proposals :].float()
            for k in ('heatmap', 'center', 'height', 'dim', 'rot', 'vel')
            if k in outputs
        }
        one_hot = F.one_hot(labels, self.num_classes).transpose(1, 2)
        score = last['heatmap'].sigmoid() * outputs['query_heatmap_score'] * one_hot
        decoded = self.bbox_coder.decode(
            score,
            last['rot'],
            last['dim'],
            last['center'],
            last['height'],
            last.get('vel'),
            filter=True,
        )
        results = []
        for sample, meta in zip(decoded, metas, strict=True):
            boxes, scores, classes = sample['bboxes'], sample['scores'], sample['labels']
            keep = class_nms(boxes, scores, classes, self.test_cfg)
            result = InstanceData()
            result.bboxes_3d = meta['box_type_3d'](boxes[keep], box_dim=boxes.shape[-1])
            result.scores_3d = scores[keep]
            result.labels_3d = classes[keep].int()
            results.append(result)
        return results

    def _select_queries(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class (B, P), flat cell (B, P) and class scores (B, num_classes, P) of the peaks."""
        heatmap = logits.sigmoid()
        margin = self.nms_kernel_size // 2
        if margin:
            # Cells at the border have no full window and are no peaks.
            inner = F.max_pool2d(heatmap, self.nms_kernel_size, stride=1)
            local_max = F.pad(inner, (margin,) * 4)
            for label in _SMALL_CLASSES.get(self.test_cfg['dataset'], ()):
                if label < self.num_classes:
                    local_max[:, label] = heatmap[:, label]
            heatmap = heatmap * (heatmap == local_max)
        heatmap = heatmap.flatten(2)
        num_cells = heatmap.shape[2]
        top = heatmap.flatten(1).topk(self.num_proposals, dim=1).indices
        labels = torch.div(top, num_cells, rounding_mode='floor')
        cells = top - labels * num_cells
        scores = heatmap.gather(2, cells[:, None].expand(-1, self.num_classes, -1))
        return labels, cells, scores

    def _layer_losses(
        self, logits: Tensor, boxes: Tensor, targets: TransFusionTargets, span: slice
    ) -> tuple[Tensor, Tensor]:
        normaliser = max(targets.num_pos, 1)
        # One-hot targets take mmdet's plain torch path, which needs no compiled operator.
        one_hot = F.one_hot(targets.labels[:, span].reshape(-1), self.num_classes + 1)
        loss_cls = self.loss_cls(
            logits.reshape(-1, self.num_classes),
            one_hot[:, : self.num_classes],
            targets.label_weights[:, span].reshape(-1),
            avg_factor=normaliser,
        )
        weights = targets.box_weights[:, span]
        if self.train_cfg.get('code_weights') is not None:
            weights = weights * constants(self.train_cfg['code_weights'], weights)
        loss_bbox = self.loss_bbox(
            boxes, targets.box_codes[:, span], weights, avg_factor=normaliser
        )
        return loss_cls, loss_bbox
