"""The distiller's contracts, on two small classifiers."""

import copy
import gc
import weakref

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS

from mmdistill import Distiller


def build(config):
    distiller = MODELS.build(config)
    distiller.init_weights()
    return distiller


def test_loss_is_the_students_plus_one_for_each_link(distiller_config, crd_link, batch):
    config = distiller_config()
    config['links']['crd'] = crd_link
    distiller = build(config).eval()
    losses = distiller(**batch, mode='loss')
    assert list(losses) == ['loss_cls', 'distill/attention', 'distill/crd']
    alone = distiller.student(**batch, mode='loss')['loss_cls']
    torch.testing.assert_close(losses['loss_cls'], alone)
    assert all(value.requires_grad and value > 0 for value in losses.values())


def test_links_count_in_the_total_loss_under_their_own_names(distiller_config, batch):
    distiller = build(distiller_config())
    losses = distiller(**batch, mode='loss')
    total, log = distiller.parse_losses(losses)
    torch.testing.assert_close(total, losses['loss_cls'] + losses['distill/attention'])
    torch.testing.assert_close(log['loss'], total)
    assert set(log) == {'loss', 'loss_cls', 'distill/attention'}


def test_prediction_is_the_students_alone(distiller_config, batch):
    distiller = build(distiller_config()).eval()
    expected = distiller.student(**batch)
    assert torch.equal(distiller(**batch), expected)
    predicted = distiller(**batch, mode='predict')
    assert torch.equal(torch.stack([sample.scores for sample in predicted]), expected)
    assert distiller.teachers['teacher'].model.head_calls == 0


def test_a_training_step_moves_the_student_and_not_the_teacher(distiller_config, crd_link, batch):
    distiller = build(distiller_config(links=dict(crd=crd_link)))
    teacher = distiller.teachers['teacher'].model
    before = copy.deepcopy(teacher.state_dict())
    student_before = copy.deepcopy(distiller.student.state_dict())
    projector_before = copy.deepcopy(distiller.links.state_dict())
    optimizer = OptimWrapper(torch.optim.SGD(distiller.parameters(), lr=0.1))
    distiller.train()
    distiller.train_step(batch, optimizer)
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
    changed = {
        k for k, v in distiller.student.state_dict().items() if (v != student_before[k]).any()
    }
    assert 'backbone.stem.weight' in changed and 'head.weight' in changed
    links = distiller.links.state_dict()
    assert any('projector' in k and (v != projector_before[k]).any() for k, v in links.items())


def test_teacher_is_in_no_state_optimizer_module_list_or_copy(distiller_config):
    distiller = build(distiller_config())
    teacher = distiller.teachers['teacher'].model
    own = {id(p) for p in distiller.parameters()} | {id(m) for m in distiller.modules()}
    assert not own & {id(p) for p in teacher.parameters()}
    assert not own & {id(m) for m in teacher.modules()}
    assert not any('teacher' in key for key in distiller.state_dict())
    assert copy.deepcopy(distiller).teachers['teacher'].model is teacher


def test_teacher_moves_with_the_distiller(distiller_config):
    distiller = build(distiller_config()).to(torch.float64)
    assert next(distiller.teachers['teacher'].model.parameters()).dtype == torch.float64


def test_teacher_stops_behind_its_last_linked_layer(distiller_config, batch):
    distiller = build(distiller_config())
    teacher = distiller.teachers['teacher'].model
    for _ in range(4):
        distiller(**batch, mode='loss')
    assert teacher.head_calls == 1  # the first pass runs to its end and counts the calls


def test_teacher_does_not_run_while_all_its_links_weigh_nothing(distiller_config, crd_link, batch):
    config = distiller_config(links=dict(crd=crd_link))
    config['links']['crd']['schedule'] = dict(kind='constant', begin=2)
    distiller = build(config)
    calls = []
    distiller.teachers['teacher'].model.backbone.register_forward_hook(lambda *_: calls.append(1))
    distiller.progress = (1, 10)
    loss = distiller(**batch, mode='loss')['distill/crd']
    assert loss == 0 and not calls
    distiller.parse_losses(dict(loss_x=loss))[0].backward()
    trained = [p for p in distiller.links.parameters() if p.requires_grad]
    assert trained and all(p.grad is not None for p in trained)  # DDP sees no unused parameters
    distiller.progress = (2, 20)
    assert distiller(**batch, mode='loss')['distill/crd'] > 0 and calls


def test_student_starts_exactly_as_if_it_were_trained_alone(distiller_config, crd_link):
    config = distiller_config(links=dict(crd=crd_link))
    torch.manual_seed(7)
    alone = MODELS.build(config['student'])
    alone.init_weights()
    after_alone = torch.rand(1)
    torch.manual_seed(7)
    distiller = build(config)
    assert torch.rand(1) == after_alone
    for key, value in distiller.student.state_dict().items():
        assert torch.equal(value, alone.state_dict()[key]), key


def test_a_schedule_without_the_hook_is_an_error(distiller_config, batch):
    config = distiller_config()
    config['links']['attention']['schedule'] = dict(kind='linear', end=3)
    with pytest.raises(RuntimeError, match="attention.*type='DistillHook'"):
        build(config)(**batch, mode='loss')


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        (dict(student='backbone.stemm'), KeyError, "student .* no layer 'backbone.stemm'.*stem"),
        (dict(teacher='bakbone'), KeyError, "teacher .* no layer 'bakbone'.*backbone"),
        (dict(teacher_name='second'), KeyError, "asks for teacher 'second'"),
        (dict(wieght=2), ValueError, r"link 'attention': unknown keys \['wieght'\]"),
        (dict(schedule=dict(kind='step')), ValueError, "link 'attention': kind is constant"),
        (dict(loss=dict(type='NoSuchLoss')), ValueError, "link 'attention': .*NoSuchLoss"),
    ],
)
def test_a_wrong_link_fails_when_the_model_is_built(distiller_config, change, error, message):
    config = distiller_config()
    config['links']['attention'].update(change)
    with pytest.raises(error, match=message):
        MODELS.build(config)


def test_a_shape_that_does_not_fit_names_the_link_and_both_shapes(distiller_config, crd_link):
    crd_link['loss']['student_channels'] = 32
    with pytest.raises(ValueError, match=r"link 'neck'.*32.*student_channels.*\(2, 8, 8, 8\)"):
        build(distiller_config(links=dict(neck=crd_link)))


def test_a_batch_without_sample_idx_says_where_to_add_it(distiller_config, crd_link, batch):
    distiller = build(distiller_config(links=dict(crd=crd_link)))
    for sample in batch['data_samples']:
        del sample.sample_idx
    with pytest.raises(ValueError, match=r"'sample_idx' to meta_keys.*tuples.*sample_idx=index"):
        distiller(**batch, mode='loss')
    for index, sample in enumerate(batch['data_samples']):
        sample.set_metainfo(dict(sample_idx=index))
    assert distiller(*batch.values(), mode='loss')['distill/crd'] > 0  # as tuples are given


def test_several_teachers_each_teach_their_links(distiller_config, teacher_file, batch):
    config = distiller_config()
    wide = config.pop('teacher')
    config['teachers'] = dict(wide=wide, twin=copy.deepcopy(wide))
    link = config['links'].pop('attention')
    config['links'] = dict(a=dict(link, teacher_name='wide'), b=dict(link, teacher_name='twin'))
    losses = build(config)(**batch, mode='loss')
    torch.testing.assert_close(losses['distill/a'], losses['distill/b'])


@pytest.mark.parametrize('off', [None, 'weight'])
def test_a_link_is_switched_off_by_none_or_weight_zero(distiller_config, crd_link, off):
    config = distiller_config()
    config['links']['crd'] = crd_link
    if off is None:
        config['links']['attention'] = None
    else:
        config['links']['attention']['weight'] = 0
    assert list(MODELS.build(config).links) == ['crd']


def test_the_teachers_predictions_do_not_land_in_the_students_batch(distiller_config, batch):
    distiller = build(distiller_config())
    distiller(**batch, mode='loss')  # the counting pass runs the teacher to its end
    assert not any('scores' in sample for sample in batch['data_samples'])


def test_teacher_only_ever_predicts(distiller_config, batch):
    distiller = build(distiller_config())
    modes = []
    distiller.teachers['teacher'].model.register_forward_pre_hook(
        lambda _model, _args, kwargs: modes.append(kwargs['mode']), with_kwargs=True
    )
    for _ in range(3):
        distiller.train()(**batch, mode='loss')
    assert modes == ['predict'] * 3


def test_nothing_is_held_when_a_loss_raises(distiller_config, crd_link, batch):
    distiller = build(distiller_config(links=dict(crd=crd_link)))
    held = []
    distiller.student.backbone.register_forward_hook(
        lambda _model, _args, output: held.append(weakref.ref(output[1]))
    )
    for sample in batch['data_samples']:
        sample.set_metainfo(dict(sample_idx=99))  # outside the data set
    with pytest.raises(ValueError, match=r"link 'crd'.*outside the data set of 12"):
        distiller(**batch, mode='loss')
    gc.collect()
    assert len(held) == 1 and held[0]() is None
    modules = [*distiller.modules(), *distiller.teachers['teacher'].model.modules()]
    assert sum(len(module._forward_hooks) for module in modules) == 1  # the one above


def test_each_link_logs_once_which_shapes_it_joins(distiller_config, batch, tmp_path):
    log = tmp_path / 'run.log'
    MMLogger.get_instance(f'shapes_{tmp_path.name}', log_file=str(log))
    distiller = build(distiller_config())
    for _ in range(2):
        distiller(**batch, mode='loss')
    lines = [line for line in log.read_text().splitlines() if 'link attention' in line]
    assert len(lines) == 1
    assert '(6, 8, 10, 12)' in lines[0] and '(6, 16, 10, 12)' in lines[0]


def test_a_name_that_torch_cannot_take_is_refused(distiller_config, crd_link):
    for name in ('pts.neck', 'keys'):
        with pytest.raises(ValueError, match='cannot name a link'):
            MODELS.build(distiller_config(links={name: crd_link}))


def test_text_as_sample_idx_is_an_error_only_where_it_is_asked_for(
    distiller_config, crd_link, batch
):
    for sample in batch['data_samples']:
        sample.set_metainfo(dict(sample_idx='frame_a'))
    build(distiller_config())(**batch, mode='loss')
    with pytest.raises(ValueError, match=r"index in the data set, got \['frame_a'"):
        build(distiller_config(links=dict(crd=crd_link)))(**batch, mode='loss')


def test_cpu_bf16_autocast_runs_and_reaches_the_student(distiller_config, crd_link, batch):
    config = distiller_config()
    config['links']['crd'] = crd_link
    distiller = build(config)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = distiller(**batch, mode='loss')
    total, _ = distiller.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    assert all(p.grad.isfinite().all() for p in distiller.student.parameters())


def test_a_non_finite_feature_leaves_bank_and_gradients_finite(distiller_config, crd_link, batch):
    distiller = build(distiller_config(links=dict(crd=crd_link)))
    batch['inputs'][2, 0, 3, 3] = float('inf')
    loss = distiller(**batch, mode='loss')['distill/crd']
    loss.backward()
    memory = distiller.links['crd'].loss.memory
    assert loss.isfinite() and memory.num_skipped == 1
    assert memory.student_bank.isfinite().all() and memory.teacher_bank.isfinite().all()
    assert all(p.grad.isfinite().all() for p in distiller.links.parameters())


class TestOwnPreprocessor:
    """A teacher that normalises its images otherwise than the student."""

    @pytest.fixture
    def config(self, distiller_config):
        mean = dict(type='ImgDataPreprocessor', mean=[1.0] * 3, std=[2.0] * 3)
        config = distiller_config()
        config['student']['preprocessor'] = dict(mean, mean=[0.0] * 3, std=[1.0] * 3)
        config['teacher']['config']['preprocessor'] = mean
        return config

    def test_teacher_sees_its_own_preprocessing_in_training_only(self, config, batch):
        distiller = build(config)
        seen = []
        distiller.teachers['teacher'].model.backbone.register_forward_pre_hook(
            lambda _m, _a, kwargs: seen.append(kwargs['image']), with_kwargs=True
        )
        raw = dict(inputs=list(batch['inputs']), data_samples=batch['data_samples'])
        data = distiller.data_preprocessor(raw, True)
        distiller(**data, mode='loss')
        torch.testing.assert_close(seen[0], (batch['inputs'] - 1) / 2)
        assert 'teacher_data' not in distiller.data_preprocessor(raw, False)

    def test_a_swap_of_colours_is_another_preprocessing(self, config):
        config['student']['preprocessor'] = dict(type='ImgDataPreprocessor')
        config['teacher']['config']['preprocessor'] = dict(
            type='ImgDataPreprocessor', bgr_to_rgb=True
        )
        distiller = MODELS.build(config)
        assert distiller.data_preprocessor is not distiller.student.data_preprocessor

    def test_equal_preprocessing_is_shared(self, config):
        config['teacher']['config']['preprocessor'] = config['student']['preprocessor']
        distiller = MODELS.build(config)
        assert distiller.data_preprocessor is distiller.student.data_preprocessor


def test_teacher_and_teachers_exclude_each_other(distiller_config):
    config = distiller_config()
    config['teachers'] = dict(a=config['teacher'])
    with pytest.raises(ValueError, match='either `teacher` or `teachers`'):
        Distiller(**{k: v for k, v in config.items() if k != 'type'})
