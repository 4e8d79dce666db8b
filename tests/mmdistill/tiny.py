"""Two small image classifiers and a data set: the smallest things a distiller can join."""

from __future__ import annotations

import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.structures import BaseDataElement
from torch import nn
from torch.nn import functional as F


@MODELS.register_module(force=True)
class TinyClassifier(BaseModel):
    """Convolutions, global pooling and a linear classifier; its backbone returns a tuple."""

    def __init__(self, width: int = 8, inplace: bool = False, preprocessor: dict | None = None):
        super().__init__(data_preprocessor=preprocessor)
        self.backbone = TinyBackbone(width, inplace)
        self.head = nn.Linear(width, 4)
        self.head_calls = 0

    def example_batch(self):
        samples = [BaseDataElement(metainfo=dict(label=i, sample_idx=i)) for i in range(2)]
        return dict(inputs=[torch.zeros(3, 8, 8)] * 2, data_samples=samples)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if isinstance(inputs, (list, tuple)):
            inputs = torch.stack(inputs)
        feature = self.backbone(image=inputs)[1]
        self.head_calls += 1
        logits = self.head(feature.mean((2, 3)))
        if mode == 'loss':
            labels = torch.tensor([sample.label for sample in data_samples])
            return dict(loss_cls=F.cross_entropy(logits, labels))
        if mode == 'predict':
            for sample, scores in zip(data_samples, logits, strict=True):
                sample.set_data(dict(scores=scores))
            return data_samples
        return logits


class TinyBackbone(nn.Module):
    """Two layers and dropout, so that random numbers matter."""

    def __init__(self, width: int, inplace: bool):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.act = nn.ReLU(inplace=inplace)
        self.dropout = nn.Dropout(0.1)
        self.block = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, image):
        low = self.dropout(self.act(self.stem(image)))
        return low, self.block(low)


@DATASETS.register_module(force=True)
class TinyImages(BaseDataset):
    """Images whose brightest quadrant is the label, drawn from the index."""

    def __init__(self, length: int = 12, **kwargs):
        self.length = length
        super().__init__(**kwargs)

    def load_data_list(self):
        return [dict(number=number) for number in range(self.length)]

    def prepare_data(self, idx):
        info = self.get_data_info(idx)
        draws = torch.Generator().manual_seed(info['number'])
        label = info['number'] % 4
        image = torch.rand(3, 8, 8, generator=draws)
        image[:, 4 * (label // 2) :, 4 * (label % 2) :][:, :4, :4] += 1
        meta = dict(label=label, sample_idx=info['sample_idx'])
        return dict(inputs=image, data_samples=BaseDataElement(metainfo=meta))


@METRICS.register_module(force=True)
class TinyAccuracy(BaseMetric):
    """Mean score of the right class, a number with many digits."""

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            self.results.append(float(sample['scores'].softmax(0)[sample['label']]))

    def compute_metrics(self, results):
        return dict(confidence=sum(results) / len(results))


HOOKS = ('Distill', 'StudentCheckpoint', 'RandomState')


def runner_config(work_dir, model, epochs=2, **changes):
    """A runner's config that trains and validates ``model`` on 12 tiny images."""

    def loader(shuffle):
        return dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=shuffle),
            dataset=dict(type='TinyImages'),
        )

    config = dict(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=loader(True),
        val_dataloader=loader(False),
        test_dataloader=loader(False),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        val_cfg=dict(),
        test_cfg=dict(),
        val_evaluator=dict(type='TinyAccuracy'),
        test_evaluator=dict(type='TinyAccuracy'),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[dict(type=f'{name}Hook') for name in HOOKS],
        randomness=dict(seed=0),
        experiment_name=f'run_{abs(hash((str(work_dir), str(changes))))}',
        default_scope='mmengine',
    )
    return {**config, **changes}
