"""Classes of two models are joined by their names."""

import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from mmdistill.classes import (
    ClassColumns,
    ClassMap,
    checkpoint_classes,
    class_names,
    config_classes,
)
from tests.mmdistill.tiny import runner_config

STUDENT, TEACHER = ('car', 'cyclist', 'person'), ('person', 'car', 'truck', 'cyclist')


def test_labels_are_joined_by_name_in_both_directions():
    classes = ClassMap(STUDENT, TEACHER)
    assert classes.teacher_labels == [1, 3, 0]
    assert classes.student_labels == [2, 0, -1, 1]
    assert ClassMap(TEACHER, STUDENT).missing == ['truck']
    assert not classes.is_same and ClassMap(STUDENT, STUDENT).is_same


def test_lists_that_cannot_be_joined_are_refused_with_both():
    with pytest.raises(ValueError, match=r"no class in common: .*\['car'\].*\['Car'\]"):
        ClassMap(('car',), ('Car',))
    with pytest.raises(ValueError, match='the teacher names a class twice'):
        ClassMap(('car',), ('car', 'car'))
    with pytest.raises(ValueError, match=r"knows \['truck'\]: the student .*, the teacher"):
        ClassMap(TEACHER, STUDENT).demand_all('a loss')


def test_columns_are_brought_into_the_students_order():
    columns = ClassColumns()
    scores = torch.randn(2, 4, 5)
    assert columns(scores) is scores
    columns.join(ClassMap(STUDENT, TEACHER))
    assert torch.equal(columns(scores), scores[:, [1, 3, 0]])
    assert columns.to_student(torch.tensor([0, 1, 2, 3])).tolist() == [2, 0, -1, 1]
    with pytest.raises(ValueError, match='3 class scores of the teacher are no list of its 4'):
        columns(scores[:, :3])
    columns.join(ClassMap(('car', 'van'), ('person', 'car')))
    assert columns.known(scores).tolist() == [1, 0]
    columns.join(ClassMap(STUDENT, STUDENT))
    assert columns(scores) is scores


def test_columns_move_with_their_loss_and_are_no_part_of_its_state():
    columns = ClassColumns()
    loss = nn.ModuleDict(dict(columns=columns))
    average = ExponentialMovingAverage(loss)  # as EMAHook makes it, before the classes are told
    columns.join(ClassMap(STUDENT, TEACHER))
    average.update_parameters(loss)
    average.update_parameters(loss)
    assert not loss.state_dict() and not list(loss.buffers())
    loss.to('meta')
    assert columns.teacher_labels.is_meta and columns.student_labels.is_meta
    loss.half()
    assert columns.teacher_labels.dtype == torch.long


def test_names_are_found_where_configs_and_checkpoints_keep_them():
    data = dict(metainfo=dict(classes=STUDENT))
    assert config_classes(dict(train_dataloader=dict(dataset=data))) == STUDENT
    wrapped = dict(dataset=dict(type='CBGSDataset', dataset=data))
    assert config_classes(dict(train_dataloader=wrapped)) == STUDENT
    both = dict(dataset=dict(type='ConcatDataset', datasets=[data, data]))
    assert config_classes(dict(train_dataloader=both)) == STUDENT
    assert config_classes(dict(class_names=list(STUDENT))) == STUDENT
    assert config_classes(dict(model=dict())) is None
    assert checkpoint_classes(dict(meta=dict(dataset_meta=dict(classes=STUDENT)))) == STUDENT
    assert checkpoint_classes(dict(meta=dict(CLASSES=STUDENT))) == STUDENT  # MMCV's
    assert checkpoint_classes(dict(state_dict={})) is None


def named(names):
    model = nn.Module()
    model.dataset_meta = None if names is None else dict(classes=names)
    return model


@pytest.mark.parametrize('kind', ['KDLoss', 'LogitStandardKDLoss', 'DKDLoss', 'DISTLoss'])
def test_logit_losses_follow_a_teacher_of_another_order_by_name(kind):
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 3), torch.randn(6, 4)
    expected = MODELS.build(dict(type=kind))(student, teacher[:, [1, 3, 0]])
    loss = MODELS.build(dict(type=kind))
    loss.bind_classes(named(STUDENT), named(TEACHER))
    assert torch.equal(loss(student, teacher), expected)
    with pytest.raises(ValueError, match=r"knows \['truck'\]"):
        loss.bind_classes(named(TEACHER), named(STUDENT))


def test_models_name_their_classes_as_mmengine_does():
    assert class_names(named(STUDENT)) == STUDENT
    assert class_names(named(None)) is None and class_names(nn.Module()) is None


# ------------------------------------------------------------------ where the run starts
QUADRANTS = ('a', 'b', 'c', 'd')


def run(folder, model, teacher_file, teacher_classes):
    """Train an epoch with a teacher whose checkpoint names its classes."""
    content = torch.load(teacher_file)
    content['meta'] = dict(dataset_meta=dict(classes=teacher_classes))
    torch.save(content, teacher_file)
    model['links'] = dict(
        logits=dict(student='head', teacher='head', loss=dict(type='KDLoss')),
        attention=model['links']['attention'],
    )
    config = runner_config(folder, copy.deepcopy(model), epochs=1)
    config['train_dataloader']['dataset']['metainfo'] = dict(classes=QUADRANTS)
    runner = Runner.from_cfg(config)
    runner.train()
    return runner.model


def test_a_run_joins_the_classes_of_its_data_and_of_the_teachers_checkpoint(
    distiller_config, teacher_file, tmp_path
):
    model = run(tmp_path, distiller_config(), teacher_file, ('d', 'a', 'b', 'c'))
    loss = model.links['logits'].loss
    assert loss.columns.teacher_labels.tolist() == [1, 2, 3, 0]
    assert class_names(model.student) == QUADRANTS


def test_a_teacher_that_lacks_a_class_is_refused_before_the_first_step(
    distiller_config, teacher_file, tmp_path
):
    with pytest.raises(ValueError, match=r"link 'logits'.*knows \['d'\].*'a', 'b', 'c', 'd'.*'x'"):
        run(tmp_path, distiller_config(), teacher_file, ('a', 'b', 'c', 'x'))
    assert not list(tmp_path.glob('epoch_*.pth'))


def test_a_config_names_the_classes_before_any_file_is_read(distiller_config):
    config = distiller_config()
    whole = dict(model=config['teacher']['config'], class_names=list(QUADRANTS))
    config['teacher']['config'] = whole
    student = dict(model=config['student'], metainfo=dict(classes=QUADRANTS[::-1]))
    config['student'] = dict(config=student)
    config['links']['logits'] = dict(student='head', teacher='head', loss=dict(type='KDLoss'))
    distiller = MODELS.build(config)
    assert distiller.links['logits'].loss.columns.teacher_labels.tolist() == [3, 2, 1, 0]
