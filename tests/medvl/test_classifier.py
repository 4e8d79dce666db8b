import pytest
import torch
from mmengine.registry import MODELS
from torch.nn import functional as F

from medvl.classifier import TokenPool
from mmdistill import LayerAddress


def test_every_named_output_is_an_address(classifier, raw_batch):
    seen = {}
    for name in ('img_raw', 'txt_raw', 'img_proj', 'txt_proj', 'heads.modality', 'heads.location'):
        LayerAddress.parse(name, classifier, 'student')  # raises where it does not exist
        classifier.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: output.shape})
        )
    classifier(**classifier.data_preprocessor(raw_batch, True))
    assert seen == {
        'img_raw': (6, 16),
        'txt_raw': (6, 16),
        'img_proj': (6, 8),
        'txt_proj': (6, 8),
        'heads.modality': (6, 2),
        'heads.location': (6, 5),
    }


def test_the_loss_is_a_weighted_cross_entropy_for_each_task(classifier_config, raw_batch):
    config = classifier_config()
    config['heads']['location']['loss_weight'] = 0.5
    model = MODELS.build(config)
    batch = model.data_preprocessor(raw_batch, True)
    logits, losses = model(**batch), model(**batch, mode='loss')
    for task, weight in (('modality', 1.0), ('location', 0.5)):
        labels = torch.tensor([sample.get(f'{task}_label') for sample in batch['data_samples']])
        expected = weight * F.cross_entropy(logits[task], labels)
        assert torch.allclose(losses[f'loss_{task}'], expected)
    assert set(losses) == {'loss_modality', 'loss_location'}


def test_predictions_are_probabilities_beside_the_labels(classifier, raw_batch):
    samples = classifier.eval().test_step(raw_batch)
    for sample in samples:
        assert sample.location_scores.shape == (5,)
        assert float(sample.location_scores.sum()) == pytest.approx(1, abs=1e-5)
        assert 'location_label' in sample and 'sample_idx' in sample


def test_a_label_that_the_head_lacks_is_named(classifier_config, raw_batch):
    config = classifier_config()
    config['heads']['location']['num_classes'] = 1
    model = MODELS.build(config)
    with pytest.raises(ValueError, match=r'labels of location .* set heads\.location\.num_classes'):
        model(**model.data_preprocessor(raw_batch, True), mode='loss')


def test_a_head_needs_a_name_that_torch_leaves_free(classifier_config):
    config = classifier_config()
    config['heads'] = dict(type=dict(num_classes=2))
    with pytest.raises(ValueError, match="cannot be called 'type'.*wound_type='type'"):
        MODELS.build(config)


def test_the_example_is_a_training_batch(classifier):
    batch = classifier.data_preprocessor(classifier.example_batch(), True)
    losses = classifier(**batch, mode='loss')
    assert all(torch.isfinite(loss) for loss in losses.values())
    again = classifier.example_batch()
    assert torch.equal(
        again['inputs']['image'][1], classifier.example_batch()['inputs']['image'][1]
    )


def test_padding_changes_nothing(classifier_config, raw_batch):
    """A text alone gives what it gives beside longer ones."""
    for pool in ('cls', 'mean'):
        model = MODELS.build(classifier_config('CrossAttentionFusion', text_pool=pool)).eval()
        together = model(**model.data_preprocessor(raw_batch))['location']
        lengths = [len(text) for text in raw_batch['inputs']['text']]
        short = lengths.index(min(lengths))
        one = {key: [value[short]] for key, value in raw_batch['inputs'].items()}
        alone = model(**model.data_preprocessor(dict(inputs=one, data_samples=None)))['location']
        assert torch.allclose(together[short], alone[0], atol=1e-5)


def test_pools():
    tokens = torch.arange(12.0).view(1, 3, 4)
    assert torch.equal(TokenPool('cls')(tokens), tokens[:, 0])
    assert torch.equal(TokenPool('mean')(tokens), tokens.mean(1))
    mask = torch.tensor([[1, 1, 0]])
    assert torch.equal(TokenPool('mean')(tokens, mask), tokens[:, :2].mean(1))
    with pytest.raises(ValueError, match="'cls' or 'mean', not 'max'"):
        TokenPool('max')


# ------------------------------------------------------------------ the data preprocessor
def test_each_model_makes_its_own_tokens_of_the_same_strings(classifier_config, raw_batch):
    batches = [
        MODELS.build(classifier_config(vocabulary=name)).data_preprocessor(raw_batch)['inputs']
        for name in ('pieces', 'words')
    ]
    assert batches[0]['input_ids'].shape[1] > batches[1]['input_ids'].shape[1]
    assert torch.equal(batches[0]['image'], batches[1]['image'])
    assert all(isinstance(text, str) for text in raw_batch['inputs']['text'])


def test_images_are_normalised(classifier, raw_batch):
    image = classifier.data_preprocessor(raw_batch)['inputs']['image']
    raw = torch.stack(raw_batch['inputs']['image']).float()
    assert torch.allclose(image, (raw - 60) / 60)


@pytest.mark.parametrize('sees, hidden', [('image', 'text'), ('text', 'image')])
def test_what_a_model_does_not_see_makes_no_difference(sees, hidden, classifier_config, raw_batch):
    config = classifier_config()
    config['data_preprocessor']['sees'] = sees
    model = MODELS.build(config).eval()

    def logits(side):
        inputs = dict(raw_batch['inputs'])
        inputs[side] = inputs[side][::-1]
        return model(**model.data_preprocessor(dict(raw_batch, inputs=inputs)))['location']

    before = model(**model.data_preprocessor(raw_batch))['location']
    assert torch.equal(before, logits(hidden))
    assert not torch.allclose(before, logits(sees))
    with pytest.raises(ValueError, match="not 'nothing'"):
        MODELS.build(dict(config['data_preprocessor'], sees='nothing'))


def test_images_of_several_sizes_are_refused(classifier, raw_batch):
    raw_batch['inputs']['image'][0] = torch.zeros(3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r'\(3, 8, 8\), \(3, 32, 32\).*FitSquare'):
        classifier.data_preprocessor(raw_batch)


def test_a_tokenizer_that_is_not_there_says_how_to_get_it(classifier_config, raw_batch, tmp_path):
    config = classifier_config()
    config['data_preprocessor']['tokenizer'] = str(tmp_path / 'nowhere')
    model = MODELS.build(config)
    with pytest.raises(FileNotFoundError, match=r'nowhere.*save_pretrained'):
        model.data_preprocessor(raw_batch)


def test_an_encoder_that_is_not_there_says_how_to_get_it(classifier_config, tmp_path):
    config = classifier_config()
    config['vision']['pretrained'] = str(tmp_path / 'nowhere')
    model = MODELS.build(config)
    with pytest.raises(FileNotFoundError, match=r'nowhere.*save_pretrained'):
        model.init_weights()
