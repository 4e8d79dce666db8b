import pytest
import torch
from mmengine.registry import MODELS

import medvl
from medvl.fusions import Seen

FUSIONS = ['SumFusion', 'ConcatFusion', 'GatedFusion', 'FiLMFusion', 'CrossAttentionFusion']


def build(kind, **options):
    torch.manual_seed(0)
    widths = dict(channels=8, image_channels=12, text_channels=6)
    return MODELS.build(dict(type=kind, **widths, **options)).double()


def seen(seed):
    """What both encoders saw, in float64."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    return Seen(normal(2, 8), normal(2, 9, 12)), Seen(normal(2, 8), normal(2, 4, 6), mask)


@pytest.mark.parametrize('kind', FUSIONS)
def test_a_fusion_depends_on_image_and_text(kind):
    fusion = build(kind)
    (image, text), (other_image, other_text) = seen(0), seen(1)
    fused = fusion(image, text)
    assert fused.shape == (2, 8)
    assert not torch.allclose(fused, fusion(other_image, text))
    assert not torch.allclose(fused, fusion(image, other_text))


@pytest.mark.parametrize('kind', FUSIONS)
def test_everything_in_a_fusion_gets_gradients(kind):
    fusion = build(kind)
    image, text = seen(0)
    vectors = [side.vector.requires_grad_() for side in (image, text)]
    (fusion(image, text) * torch.arange(8.0)).square().sum().backward()
    for vector in vectors:
        assert (vector.grad.abs().sum(1) > 0).all()
    # A key's bias shifts all scores of a query alike: it never has a gradient.
    for name, parameter in fusion.named_parameters():
        grad = parameter.grad.chunk(3)[0] if name.endswith('in_proj_bias') else parameter.grad
        assert grad is not None and grad.abs().sum() > 0, name


def test_the_fusions_are_different_functions():
    image, text = seen(0)
    results = [build(kind)(image, text) for kind in FUSIONS]
    for i, one in enumerate(results):
        assert all(not torch.allclose(one, other, atol=1e-3) for other in results[:i])


def test_the_sum_is_the_mean_of_the_projections():
    image, text = seen(0)
    assert torch.equal(build('SumFusion')(image, text), (image.vector + text.vector) / 2)


def test_an_open_gate_lets_one_side_through():
    fusion = build('GatedFusion')
    image, text = seen(0)
    for bias, side, layer in ((50.0, image, fusion.image), (-50.0, text, fusion.text)):
        torch.nn.init.constant_(fusion.gate.bias, bias)
        assert torch.allclose(fusion(image, text), layer(side.vector).tanh())


def test_film_scales_and_shifts_by_the_text():
    fusion = build('FiLMFusion')
    image, text = seen(0)
    film = text.vector @ fusion.film.weight.T + fusion.film.bias
    modulated = (1 + film[:, :8]) * fusion.image(image.vector) + film[:, 8:]
    assert torch.allclose(fusion(image, text), fusion.out(modulated))


def test_cross_attention_reads_tokens_that_count_and_no_others():
    fusion = build('CrossAttentionFusion', num_layers=2)
    image, text = seen(0)
    fused = fusion(image, text)
    padded = text.tokens.clone()
    padded[1, 2:] = 99.0
    assert torch.equal(fused, fusion(image, text._replace(tokens=padded)))
    words = text.tokens.clone()
    words[1, 1] = torch.arange(6.0)
    assert not torch.allclose(fused[1], fusion(image, text._replace(tokens=words))[1])
    patches = image.tokens.flip(2)
    assert not torch.allclose(fused, fusion(image._replace(tokens=patches), text))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match='num_heads=3 does not divide channels=8'):
        build('CrossAttentionFusion', num_heads=3)


@pytest.mark.parametrize('kind', FUSIONS)
def test_the_fusion_of_the_config_is_the_one_that_is_used(kind, classifier_config, raw_batch):
    model = MODELS.build(classifier_config(kind))
    assert type(model.fusion) is getattr(medvl, kind)
    batch = model.data_preprocessor(raw_batch, True)
    sum(model(**batch, mode='loss').values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
    with torch.no_grad():
        before = model(**batch)['location']
        model.fusion.register_forward_hook(lambda module, inputs, output: output * 0)
        assert not torch.allclose(before, model(**batch)['location'])
