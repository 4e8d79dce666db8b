"""Encoders of transformers: shapes, weights, freezing."""

import copy

import pytest
import torch
import transformers
from mmengine.registry import MODELS

from tests.mmdistill_hf.conftest import CONFIGS


def vision(name, **options):
    return MODELS.build(dict(type='HFVisionEncoder', config=CONFIGS[name], **options)).eval()


def text(name, **options):
    return MODELS.build(dict(type='HFTextEncoder', config=CONFIGS[name], **options)).eval()


@pytest.mark.parametrize(
    ('name', 'pool', 'shape'),
    [
        ('clip', 'projection', (3, 12)),
        ('clip', 'pooler', (3, 16)),
        ('clip', 'tokens', (3, 5, 16)),
        ('vit', 'pooler', (3, 16)),
        ('vit', 'cls', (3, 16)),
        ('vit', 'mean', (3, 16)),
        ('mobilevit', 'pooler', (3, 40)),
        ('mobilevit', 'mean', (3, 40)),
    ],
)
def test_images_become_what_the_pool_says(images, name, pool, shape):
    encoder = vision(name, pool=pool)
    output = encoder(images)
    assert output.shape == shape
    assert encoder.out_channels == shape[-1]


def test_a_network_of_maps_gives_maps_and_has_no_class_token():
    images = torch.randn(2, 3, 64, 64)
    assert vision('mobilevit', pool='tokens')(images).shape == (2, 40, 2, 2)
    with pytest.raises(ValueError, match="have no class token: choose pool='mean'"):
        vision('mobilevit', pool='cls')(images)


@pytest.mark.parametrize(
    ('name', 'pool', 'channels'),
    [
        ('bert', 'pooler', 16),
        ('bert', 'cls', 16),
        ('distilbert', 'mean', 16),
        ('clip_text', 'projection', 12),
    ],
)
def test_padding_does_not_change_a_text(tokens, name, pool, channels):
    encoder = text(name, pool=pool)
    with torch.no_grad():
        together = encoder(**tokens)
        assert together.shape == (3, channels) and encoder.out_channels == channels
        alone = encoder(**{key: value[1:2, :3] for key, value in tokens.items()})
    torch.testing.assert_close(alone, together[1:2])


def test_tokens_come_with_their_mask(tokens):
    output = text('distilbert', pool='tokens')(**tokens)
    assert output['tokens'].shape == (3, 6, 16)
    assert torch.equal(output['mask'], tokens['attention_mask'])


def test_weights_are_read_when_initialised_and_not_before(images, tmp_path):
    """A strictly loaded teacher is built and filled without its folder."""
    torch.manual_seed(1)
    config = transformers.ViTConfig(
        **{k: v for k, v in CONFIGS['vit'].items() if k != 'model_type'}
    )
    saved = transformers.ViTModel(config).eval()
    encoder = vision('vit', pretrained=str(tmp_path / 'vit'))
    with pytest.raises(FileNotFoundError, match='no folder .*vit.*save_pretrained wrote'):
        encoder.init_weights()
    saved.save_pretrained(tmp_path / 'vit')
    encoder.init_weights()
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), saved(images).pooler_output)
    without = vision('vit', pretrained='owner/nowhere')
    without.load_state_dict(encoder.state_dict())
    assert torch.equal(without(images), encoder(images))


@pytest.mark.parametrize('pool', ['projection', 'pooler'])
def test_both_towers_of_clip_are_filled_from_one_folder(images, tokens, tmp_path, pool):
    torch.manual_seed(2)
    parts = {
        name: {k: v for k, v in CONFIGS[name].items() if k not in ('model_type', 'projection_dim')}
        for name in ('clip', 'clip_text')
    }
    config = transformers.CLIPConfig(
        text_config=parts['clip_text'], vision_config=parts['clip'], projection_dim=12
    )
    saved = transformers.CLIPModel(config).eval()
    saved.save_pretrained(tmp_path)
    seen = vision('clip', pool=pool, pretrained=str(tmp_path))
    read = text('clip_text', pool=pool, pretrained=str(tmp_path))
    for encoder in (seen, read):
        encoder.init_weights()
    with torch.no_grad():
        image = saved.vision_model(pixel_values=images).pooler_output
        words = saved.text_model(**tokens).pooler_output
        if pool == 'projection':
            image, words = saved.visual_projection(image), saved.text_projection(words)
        torch.testing.assert_close(seen(images), image)
        torch.testing.assert_close(read(**tokens), words)


def test_weights_of_another_architecture_are_refused_with_their_keys(tmp_path):
    wider = {**CONFIGS['vit'], 'hidden_size': 32}
    del wider['model_type']
    transformers.ViTModel(transformers.ViTConfig(**wider)).save_pretrained(tmp_path / 'wide')
    with pytest.raises(ValueError, match=r'do not fit ViTModel.*of another shape.*cls_token'):
        vision('vit', pretrained=str(tmp_path / 'wide')).init_weights()
    text('bert').model.save_pretrained(tmp_path / 'bert')
    with pytest.raises(ValueError, match=r'do not fit ViTModel.*missing'):
        vision('vit', pretrained=str(tmp_path / 'bert')).init_weights()


def test_weights_that_only_the_hub_has_are_told_with_the_command():
    with pytest.raises(
        FileNotFoundError, match='hf download owner/model --local-dir checkpoints/m'
    ):
        vision('vit', pretrained='owner/model').init_weights()


def test_an_installed_package_may_hold_the_weights(tmp_path, monkeypatch):
    package = tmp_path / 'weights_of_vit'
    package.mkdir()
    (package / '__init__.py').touch()
    monkeypatch.syspath_prepend(tmp_path)
    saved = vision('vit')
    saved.model.save_pretrained(package / 'model')
    encoder = vision('vit', pretrained='weights_of_vit::model')
    encoder.init_weights()
    own, theirs = encoder.state_dict(), saved.state_dict()
    assert all(torch.equal(own[key], theirs[key]) for key in own)
    with pytest.raises(FileNotFoundError, match='no folder .*beside it: model'):
        vision('vit', pretrained='weights_of_vit::modell').init_weights()
    with pytest.raises(FileNotFoundError, match="no installed package 'no_such_package'"):
        vision('vit', pretrained='no_such_package::model').init_weights()


def test_the_config_may_be_read_from_a_folder(tmp_path):
    saved = vision('mobilevit')
    saved.model.config.save_pretrained(tmp_path)
    encoder = MODELS.build(dict(type='HFVisionEncoder', config=str(tmp_path)))
    assert encoder.state_dict().keys() == saved.state_dict().keys()


def test_a_frozen_encoder_stays_in_eval_mode_and_gets_no_gradient(images):
    encoder = vision('mobilevit', frozen=True).train()
    head = torch.nn.Linear(40, 2)
    head(encoder(images)).sum().backward()
    assert not encoder.training and not encoder.model.training
    assert all(p.grad is None and not p.requires_grad for p in encoder.parameters())
    assert head.weight.grad is not None
    means = [buffer for name, buffer in encoder.named_buffers() if name.endswith('running_mean')]
    assert means and all(mean.abs().max() == 0 for mean in means)


def test_torchs_initialisation_keeps_the_signal_of_mobilevit_alive(images):
    """Drawn by the library, what leaves the last convolution hardly depends on the image."""
    spread = {}
    for init in ('library', 'torch'):
        torch.manual_seed(0)
        encoder = vision('mobilevit', init=init)
        encoder.init_weights()
        with torch.no_grad():
            spread[init] = encoder(images).std(0).mean().item()
    assert spread['library'] < 1e-3 * spread['torch']


def test_initialising_twice_and_copying_keep_the_weights_alike(images):
    torch.manual_seed(0)
    encoder = vision('vit')
    before = copy.deepcopy(encoder.state_dict())
    encoder.init_weights()
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_a_stem_halves_the_image_before_the_transformer():
    config = {**CONFIGS['clip'], 'image_size': 4, 'patch_size': 1, 'num_channels': 10}
    encoder = MODELS.build(
        dict(
            type='HFVisionEncoder',
            config=config,
            pool='tokens',
            stem=dict(type='ConvStem', channels=(6, 10)),
        )
    )
    encoder.init_weights()
    assert encoder.image_size == 16
    output = encoder(torch.randn(2, 3, 16, 16))
    assert output.shape == (2, 17, 16)
    output.sum().backward()
    assert encoder.stem.layers[0].weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(config=dict(hidden_size=8)), 'needs the model_type .*not None'),
        (dict(config=CONFIGS['vit'], pool='projection'), 'has no ViTModelWithProjection'),
        (dict(config=CONFIGS['vit'], pool='max'), "pool of HFVisionEncoder is one of .*'max'"),
        (dict(config=CONFIGS['vit'], init='zeros'), "init is one of .*'zeros'"),
    ],
)
def test_wrong_options_fail_when_built(options, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='HFVisionEncoder', **options))
