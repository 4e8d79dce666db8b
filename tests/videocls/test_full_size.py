"""The full-size configs: what they build, and the published step with its shapes."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'video'
NARROW_CLIP = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
NARROW_MOBILEVIT = dict(
    hidden_sizes=[16, 16, 16],
    neck_hidden_sizes=[2, 2, 4, 8, 8, 8, 320],
    expand_ratio=1.0,
    num_attention_heads=2,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)


def millions(module):
    return sum(p.numel() for p in module.parameters()) / 1e6


def read(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def test_the_encoders_have_the_published_sizes():
    with torch.device('meta'):
        teacher = MODELS.build(read('clip_vit_b32_ucf101').model)
        student = MODELS.build(read('mobilevit_xxs_ucf101').model)
    assert millions(teacher.backbone) == pytest.approx(87.85, abs=0.01)
    assert millions(student.backbone) == pytest.approx(0.951, abs=0.001)
    assert teacher.neck.out_channels == student.neck.out_channels == 512
    assert student.backbone.out_channels == 320
    trained = [name for name, p in teacher.named_parameters() if p.requires_grad]
    assert trained == ['head.fc.weight', 'head.fc.bias']


@pytest.fixture
def distiller(tmp_path):
    """The published pair with its shapes at every link, and narrow inside."""
    torch.manual_seed(0)
    teacher = read('clip_vit_b32_ucf101').model
    teacher.backbone.update(pretrained=None, config={**teacher.backbone.config, **NARROW_CLIP})
    cfg = read('clip_mobilevit_xxs_ucf101').model
    student = cfg.student
    student.backbone.update(pretrained=None, config={**student.backbone.config, **NARROW_MOBILEVIT})
    for model in (teacher, student):
        model.head.num_classes = 12
    trained = MODELS.build(copy.deepcopy(teacher))
    trained.init_weights()
    torch.save(dict(state_dict=trained.state_dict()), tmp_path / 'teacher.pth')
    cfg.teacher = dict(config=teacher, checkpoint=str(tmp_path / 'teacher.pth'))
    model = MODELS.build(cfg)
    model.init_weights()
    return model


def test_a_step_is_the_documents(distiller):
    """Batch, two forward passes, three losses, their sum, backward, clipping, one step."""
    labels = torch.tensor([0, 1, 0, 2, 1, 0, 2, 1])
    samples = distiller.student.example_batch()['data_samples'] * 4
    samples = [copy.deepcopy(sample) for sample in samples]
    for sample, label in zip(samples, labels.tolist(), strict=True):
        sample.set_metainfo(dict(label=label))
    draws = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (8, 8, 3, 224, 224), generator=draws, dtype=torch.uint8)
    batch = dict(inputs=list(frames), data_samples=samples)
    student, teacher = copy.deepcopy(distiller.student), distiller.teachers['teacher'].model

    # The document's walk, in plain torch.
    student.train()
    with torch.no_grad():
        teacher_features = teacher.extract(teacher.data_preprocessor(batch)['inputs'])
        teacher_logits = teacher.head.fc(teacher_features)
    student_features = student.extract(student.data_preprocessor(batch)['inputs'])
    student_logits = student.head.fc(student_features)
    assert teacher_features.shape == student_features.shape == (8, 512)
    assert teacher_logits.shape == student_logits.shape == (8, 12)
    feature_loss = F.mse_loss(
        F.normalize(student_features, dim=-1), F.normalize(teacher_features, dim=-1)
    )
    response_loss = F.kl_div(
        F.log_softmax(student_logits / 3.0, dim=-1),
        F.softmax(teacher_logits / 3.0, dim=-1),
        reduction='batchmean',
    ) * (3.0**2)
    task_loss = F.cross_entropy(student_logits, labels)
    total_loss = 0.5 * feature_loss + 1.0 * response_loss + 0.1 * task_loss
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    total_loss.backward()
    norm = clip_grad_norm_(student.parameters(), max_norm=1.0)
    optimizer.step()

    # Ours, by its config.
    wrapper = OptimWrapper(
        torch.optim.SGD(distiller.parameters(), lr=0.1), clip_grad=dict(max_norm=1.0)
    )
    distiller.train()
    logged = distiller.train_step(batch, wrapper)
    expected = {
        'distill/feature': 0.5 * feature_loss,
        'distill/response': 1.0 * response_loss,
        'loss_cls': 0.1 * task_loss,
        'loss': total_loss,
    }
    for name, value in expected.items():
        assert float(logged[name]) == pytest.approx(float(value), abs=1e-6), name
    assert feature_loss > 1e-4 and response_loss > 1e-3 and task_loss > 1
    assert float(norm) > 0
    own = distiller.student.state_dict()
    for name, value in student.state_dict().items():
        torch.testing.assert_close(own[name], value, atol=1e-6, rtol=1e-5)
