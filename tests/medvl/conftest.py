"""A tiny data set, tiny models, and batches of them."""

import pytest
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS

import medvl
from medsim import Parameters, generate_dataset

CLASSES = dict(
    modality=['CT', 'MR'],
    location=['Abdomen', 'Head', 'Reproductive and Urinary System', 'Spine and Muscles', 'Thorax'],
)


@pytest.fixture(scope='session')
def tiny_root(tmp_path_factory):
    """A small data set in both layouts, for reading alone."""
    root = tmp_path_factory.mktemp('medvl') / 'medsim'
    generate_dataset(root, Parameters(cases=180, wounds=60, size=32))
    return root


@pytest.fixture
def medpix(tiny_root):
    """Arguments of a data set."""
    return dict(data_root=str(tiny_root / 'MedPix-2-0'), split='train', classes=CLASSES)


@pytest.fixture
def classifier_config(tiny_root):
    """The config of a tiny classifier, with a fusion and a vocabulary of choice."""

    def make(fusion='ConcatFusion', vocabulary='pieces', width=16, **options):
        encoder = dict(
            hidden_size=width,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        return dict(
            type='ImageTextClassifier',
            data_preprocessor=dict(
                type='ImageTextPreprocessor',
                mean=[60.0] * 3,
                std=[60.0] * 3,
                tokenizer=str(tiny_root / 'tokenizers' / vocabulary),
                max_length=48,
            ),
            vision=dict(
                type='HFVisionEncoder',
                config=dict(model_type='vit', image_size=32, patch_size=8, **encoder),
            ),
            text=dict(
                type='HFTextEncoder',
                config=dict(
                    model_type='bert', vocab_size=400, max_position_embeddings=48, **encoder
                ),
            ),
            fusion=dict(type=fusion),
            channels=8,
            heads={task: dict(num_classes=len(names)) for task, names in CLASSES.items()},
            **options,
        )

    return make


@pytest.fixture
def raw_batch(medpix):
    """Six samples, collated."""
    pipeline = [dict(type='LoadImage'), dict(type='PackImageText')]
    dataset = medvl.MedPixDataset(**medpix, pipeline=pipeline, allow=['empty_text'])
    return pseudo_collate([dataset[index] for index in range(6)])


@pytest.fixture
def classifier(classifier_config):
    return MODELS.build(classifier_config())
