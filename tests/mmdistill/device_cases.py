"""Every loss, connector and memory of the core on a fake device, and a whole step; see test_device.

A case fails where an operation takes tensors of both devices, or where the host reads a number.
"""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import nn

import mmdistill
from mmdistill.memory import ContrastMemory, QueueMemory
from tests.fake_device import NAME, Device

CHANNELS = dict(student_channels=8, teacher_channels=16)
SAME_CHANNELS = [
    dict(type='FitNetLoss'),
    dict(type='FeatureL1Loss'),
    dict(type='NormalizedMSELoss'),
    dict(type='NormalizedMSELoss', over='sample'),
    dict(type='CosineLoss'),
    dict(type='CosineLoss', over='sample'),
    dict(type='PKDLoss'),
    dict(type='CWDLoss'),
    dict(type='ICKDLoss'),
    dict(type='MMDLoss', kernel='linear'),
    dict(type='MMDLoss', kernel='polynomial'),
    dict(type='MMDLoss', kernel='rbf'),
    dict(type='KDLoss', activation='softmax'),
    dict(type='KDLoss', activation='sigmoid'),
    dict(type='LogitStandardKDLoss'),
    dict(type='DKDLoss'),
    dict(type='DISTLoss', activation='softmax'),
    dict(type='DISTLoss', activation='sigmoid'),
]
ANY_CHANNELS = [
    dict(type='AttentionTransferLoss'),
    dict(type='NSTLoss', kernel='linear'),
    dict(type='NSTLoss', kernel='polynomial'),
    dict(type='NSTLoss', kernel='rbf'),
    *(dict(type=f'{name}Loss') for name in ('RKD', 'SP', 'PKT', 'CC')),
    *(dict(type=f'{name}Loss', items=20) for name in ('RKD', 'SP', 'PKT', 'CC')),
    *(dict(type=f'{name}Loss', items=(2, 2)) for name in ('RKD', 'SP', 'PKT', 'CC')),
    dict(type='MGDLoss', **CHANNELS),
    dict(type='FactorTransferLoss', **CHANNELS),
    dict(type='VIDLoss', **CHANNELS),
    dict(type='ContrastiveLoss', grid=(4, 4), **CHANNELS),
]
UNMASKED = [
    *(dict(type=f'{name}Loss', items='scene') for name in ('RKD', 'SP', 'PKT', 'CC')),
    dict(type='ContrastiveLoss', **CHANNELS),
]
CRD = [
    dict(),
    dict(granularity=dict(type='cell', grid=(2, 2))),
    dict(memory=dict(exclude_same_class=True), granularity=dict(type='scene', label_key='label')),
]
CONNECTORS = [
    dict(type='ConvConnector', in_channels=8, out_channels=16, norm=True, act='ReLU'),
    *(dict(type='MLPProjector', in_channels=8, pool=pool) for pool in ('avg', 'max', 'avg+max')),
    dict(type='MLPProjector', in_channels=8, hidden_channels=32),
    *(dict(type='ResizeConnector', size=(6, 6), mode=m) for m in ('bilinear', 'nearest')),
    dict(type='ResizeConnector', size=(6, 6), mode='adaptive'),
]


def name_of(config):
    return ','.join(str(value) for value in config.values())


@pytest.fixture
def device():
    with Device() as device:
        yield device


def maps(teacher_channels=16, dtype=torch.float32):
    return (
        torch.rand(2, 8, 16, 16, dtype=dtype, device=NAME, requires_grad=True),
        torch.rand(2, teacher_channels, 16, 16, dtype=dtype, device=NAME),
    )


def run(device, config, teacher_channels, dtype, mask, **needs):
    loss = device.move(MODELS.build(config))
    student, teacher = maps(teacher_channels, dtype)
    if mask:
        needs['mask'] = torch.rand(2, 1, 16, 16, device=NAME)
    result = loss(student, teacher, **needs)
    result.backward()
    assert result.device.type == NAME and result.shape == () and result.dtype == torch.float32
    assert student.grad.device.type == NAME


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
@pytest.mark.parametrize('mask', [False, True])
class TestLosses:
    @pytest.mark.parametrize('config', SAME_CHANNELS, ids=name_of)
    def test_of_equal_channels(self, device, config, mask, dtype):
        run(device, config, 8, dtype, mask)

    @pytest.mark.parametrize('config', ANY_CHANNELS, ids=name_of)
    def test_of_any_channels(self, device, config, mask, dtype):
        run(device, config, 16, dtype, mask)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
@pytest.mark.parametrize('config', UNMASKED, ids=name_of)
def test_losses_without_mask(device, config, dtype):
    run(device, config, 16, dtype, mask=False)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
@pytest.mark.parametrize('config', CRD, ids=name_of)
def test_crd(device, config, dtype):
    samples = [BaseDataElement(metainfo=dict(label=label)) for label in (1, 0)]
    memory = {'num_samples': 20, 'num_negatives': 7, **config.get('memory', {})}
    config = dict(type='CRDLoss', **CHANNELS, **{**config, 'memory': memory})
    index = torch.tensor([0, 3])
    run(device, config, 16, dtype, False, sample_idx=index, data_samples=samples)


def test_every_loss_has_a_case():
    configs = [*SAME_CHANNELS, *ANY_CHANNELS, *UNMASKED, dict(type='CRDLoss')]
    assert {config['type'] for config in configs} == set(mmdistill.losses.__all__)


@pytest.mark.parametrize('config', CONNECTORS, ids=name_of)
def test_connectors(device, config):
    connector = device.move(MODELS.build(config))
    feature, _ = maps()
    connector(feature).sum().backward()
    assert feature.grad.device.type == NAME


def test_a_connector_that_concatenates(device):
    assert MODELS.build(dict(type='ConcatConnector', in_channels=[8, 16]))(maps()).shape[1] == 24


def embeddings(count):
    return torch.rand(2, count, 16, device=NAME).unbind()


@pytest.mark.parametrize('positive', ['row', 'current'])
@pytest.mark.parametrize('normaliser', ['analytic', 'first_batch'])
@pytest.mark.parametrize('form', ['marginal', 'exact', 'shared'])
@pytest.mark.parametrize('classes', [False, True])
def test_banks_of_scenes(device, form, positive, normaliser, classes):
    memory = device.move(
        ContrastMemory(
            16,
            20,
            form=form,
            positive=positive,
            normaliser=normaliser,
            exclude_same_class=classes,
            num_samples=50,
        )
    )
    labels = torch.zeros(4, dtype=torch.long, device=NAME) if classes else None
    loss = memory(*embeddings(4), torch.tensor([0, 3, 5, 7]), labels=labels)
    assert loss.device.type == memory.student_bank.device.type == NAME


@pytest.mark.parametrize('negatives', ['other_classes', 'all'])
@pytest.mark.parametrize('balance', [True, False])
@pytest.mark.parametrize('count', [0, 6])
def test_banks_of_objects(device, negatives, balance, count):
    memory = device.move(QueueMemory(3, 16, 8, negatives=negatives, balance=balance))
    keys = torch.zeros(2, count, dtype=torch.long, device=NAME if balance else 'cpu').unbind()
    loss = memory(*embeddings(count), *keys)
    assert loss.device.type == memory.student_bank.device.type == NAME


@MODELS.register_module()
class Convolutions(BaseModel):
    """Two layers: the smallest model with a feature and a loss."""

    def __init__(self, width=4):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        out = self.head(self.stem(inputs))
        return dict(loss=out.square().mean()) if mode == 'loss' else out


WIDTHS = dict(student_channels=4, teacher_channels=8)
WIDEN = dict(type='ConvConnector', in_channels=4, out_channels=8)
STEM = dict(student='stem', teacher='stem')
INPUT = dict(layer='head[0]', source='input')
LINKS = dict(
    attention=dict(**STEM, loss=dict(type='AttentionTransferLoss')),
    feature=dict(**STEM, student_connector=WIDEN, loss=dict(type='FitNetLoss')),
    crd=dict(**STEM, loss=dict(type='CRDLoss', **WIDTHS)),
    cells=dict(
        **STEM,
        loss=dict(type='CRDLoss', granularity=dict(type='cell', grid=(2, 2)), **WIDTHS),
    ),
    contrast=dict(**STEM, loss=dict(type='ContrastiveLoss', grid=(2, 2), **WIDTHS)),
    later=dict(
        **STEM, student_connector=WIDEN, loss=dict(type='FitNetLoss'), schedule=dict(begin=1)
    ),
    inputs=dict(
        student={**INPUT, 'clone': True}, teacher=INPUT, loss=dict(type='SPLoss', items=(2, 2))
    ),
)


def test_two_steps_of_a_distiller_with_seven_links(device):
    """In the second step the teacher stops early, and every link pulls."""
    distiller = MODELS.build(
        dict(
            type='Distiller',
            student=dict(type='Convolutions'),
            teacher=dict(config=dict(type='Convolutions', width=8), allow_random_weights=True),
            links=LINKS,
        )
    )
    distiller.prepare(num_samples=6)
    device.move(distiller)
    device.move(distiller.teachers['teacher'].model)
    samples = [BaseDataElement(metainfo=dict(sample_idx=index)) for index in (0, 3)]
    optimizer = torch.optim.AdamW(distiller.parameters())
    for epoch in range(2):
        distiller.progress = (epoch, epoch)
        losses = distiller(torch.rand(2, 3, 8, 8, device=NAME), data_samples=samples, mode='loss')
        total, log = distiller.parse_losses(losses)
        total.backward()
        optimizer.step()
    assert len(log) == 1 + len(LINKS)
    assert {value.device.type for value in log.values()} == {NAME}
    assert {p.grad.device.type for p in distiller.parameters() if p.requires_grad} == {NAME}
