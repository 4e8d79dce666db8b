"""Video classifiers: shapes, the order of time, losses, and what they refuse."""

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement


def classifier(mode='attention', num_frames=4, **changes):
    config = dict(
        type='VideoClassifier',
        backbone=dict(type='FrameCNN', channels=(4, 8), out_channels=6, image_size=16),
        neck=dict(type='TemporalPool', channels=8, mode=mode, num_frames=num_frames),
        head=dict(type='ClassificationHead', num_classes=5),
    )
    torch.manual_seed(0)
    return MODELS.build({**config, **changes}).eval()


@pytest.fixture
def batch():
    draws = torch.Generator().manual_seed(0)
    clips = [torch.randint(256, (4, 3, 16, 16), generator=draws, dtype=torch.uint8) for _ in '123']
    samples = [BaseDataElement(metainfo=dict(label=i, sample_idx=i)) for i in range(3)]
    return dict(inputs=clips, data_samples=samples)


@pytest.mark.parametrize('mode', ['mean', 'attention', 'attention+position', 'transformer'])
def test_every_way_to_pool_trains_and_predicts(batch, mode):
    model = classifier(mode).train()
    data = model.data_preprocessor(batch, training=True)
    losses = model(**data, mode='loss')
    losses['loss_cls'].backward()
    assert all(p.grad is not None for p in model.parameters())
    with torch.no_grad():
        samples = model.eval()(**data, mode='predict')
        logits = model(data['inputs'])
    scores = torch.stack([sample.scores for sample in samples])
    assert logits.shape == (3, 5)
    torch.testing.assert_close(scores, logits.softmax(1))


@pytest.mark.parametrize('mode', ['mean', 'attention', 'attention+position', 'transformer'])
def test_only_two_ways_know_the_order_of_frames(batch, mode):
    model = classifier(mode)
    inputs = model.data_preprocessor(batch)['inputs']
    with torch.no_grad():
        forwards, backwards = model(inputs), model(inputs.flip(1))
    knows = mode in ('attention+position', 'transformer')
    assert torch.allclose(forwards, backwards, atol=1e-6) != knows


def test_each_frame_is_encoded_alone_and_clips_do_not_mix(batch):
    model = classifier('attention+position')
    inputs = model.data_preprocessor(batch)['inputs']
    with torch.no_grad():
        together = model.extract(inputs)
        alone = torch.cat([model.extract(inputs[i : i + 1]) for i in range(3)])
        frames = model.backbone(inputs[1])
        torch.testing.assert_close(model.neck(frames[None]), together[1:2])
    torch.testing.assert_close(together, alone)


def test_attention_weights_sum_up_to_one_and_weigh_the_frames():
    model = classifier('attention')
    frames = torch.randn(2, 4, 8)
    weights = model.neck.attention(frames)
    assert weights.shape == (2, 4) and (weights > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    model.neck.project = torch.nn.Identity()
    expected = sum(weights[:, t, None] * frames[:, t] for t in range(4))
    torch.testing.assert_close(model.neck(frames), expected)


def test_channels_are_stacked_normalised_and_turned_to_red_first(batch):
    mean, std = [10.0, 20.0, 30.0], [1.0, 2.0, 4.0]
    options = dict(type='ClipPreprocessor', mean=mean, std=std)
    straight = MODELS.build(options)(batch)['inputs']
    turned = MODELS.build(dict(options, to_rgb=True))(batch)['inputs']
    raw = torch.stack(batch['inputs']).float()
    torch.testing.assert_close(straight[:, :, 2], (raw[:, :, 2] - 30) / 4)
    torch.testing.assert_close(turned[:, :, 2], (raw[:, :, 0] - 30) / 4)


def test_the_example_is_a_batch_that_trains():
    model = classifier('transformer')
    example = model.example_batch()
    assert example['inputs'][0].shape == (4, 3, 16, 16)
    again = classifier('transformer').example_batch()
    assert torch.equal(example['inputs'][1], again['inputs'][1])
    data = model.data_preprocessor(example, training=True)
    assert model(**data, mode='loss')['loss_cls'].isfinite()


def test_what_does_not_fit_is_refused(batch):
    model = classifier('transformer', num_frames=6)
    with pytest.raises(ValueError, match='clips of 4 frames, and places of 6 were learned'):
        model(model.data_preprocessor(batch)['inputs'])
    with pytest.raises(ValueError, match="mode='transformer' learns the places.*give num_frames"):
        classifier('transformer', num_frames=None)
    with pytest.raises(ValueError, match="mode is one of .*'max'"):
        classifier('max')
    batch['data_samples'][0].set_metainfo(dict(label=5))
    model = classifier('mean')
    with pytest.raises(ValueError, match='labels from 1 to 5, and the head has num_classes=5'):
        model(**model.data_preprocessor(batch), mode='loss')
    batch['inputs'][1] = batch['inputs'][1][:3]
    with pytest.raises(ValueError, match=r'have the shapes \[\(3, 3, 16, 16\), \(4, 3, 16, 16\)\]'):
        model.data_preprocessor(batch)
