"""Links between maps of other ranges, axes and cells teach where things lie."""

import pytest
import torch

from mmdistill.link import Link
from mmdistill.reading import Layer
from mmdistill.step import Step
from mmdistill3d.connectors import BEVAligner, TransposeConnector
from tests.mmdistill3d.losses.samples import sample_of
from tests.mmdistill3d.test_geometry import FAR, NEAR, OBJECT, made_up, peak

SIZES = {id(NEAR): (32, 32), id(FAR): (64, 64)}  # cells of 0.8 m
BOX = [*OBJECT, -1.0, 0.5, 0.5, 1.5, 0, 0, 0]


def bound(student, teacher, loss, **config):
    """A link between two layers of that name."""
    link = Link.from_config('link', dict(student='neck', teacher='neck', loss=loss, **config))
    link.bind(
        *(
            Layer(recorder, layer.model, role, layer.value, layer.axes, layer.range)
            for recorder, layer, role in (
                (link.student, student, 'student'),
                (link.teacher, teacher, 'teacher'),
            )
        )
    )
    return link


def pull(link, student_axes, teacher_axes, limits, xy=OBJECT):
    """Where a teacher's peak pulls on the student, (H, W)."""
    student = torch.full((1, 1, 32, 32), 0.1, requires_grad=True)
    samples = [sample_of([BOX], [0])]
    step = Step(None, {}, {}, samples)
    teacher = 9 * peak(teacher_axes, limits, SIZES[id(limits)], xy)
    link(student, teacher, step).backward()
    return student.grad[0, 0]


@pytest.mark.parametrize('teacher_axes', ['xy', 'yx'])
@pytest.mark.parametrize('student_axes', ['xy', 'yx'])
@pytest.mark.parametrize(
    'loss',
    [
        dict(type='FitNetLoss'),
        dict(type='AttentionTransferLoss'),
        dict(type='KDLoss', activation='sigmoid'),
        dict(type='HeatmapKDLoss'),
        dict(type='HeatmapKDLoss', weights='teacher'),
    ],
)
def test_a_peak_pulls_where_the_object_lies(loss, student_axes, teacher_axes):
    student, teacher = made_up(student_axes, NEAR, 32, 32), made_up(teacher_axes, FAR, 64, 64)
    link = bound(student, teacher, loss)
    force = -pull(link, student_axes, teacher_axes, FAR)
    expected = peak(student_axes, NEAR, (32, 32), OBJECT)[0, 0]
    assert force.argmax() == expected.argmax()


@pytest.mark.parametrize('connector', ['RangeConnector', 'TransposeConnector', 'ResizeConnector'])
def test_no_second_connector_is_added_to_one_of_the_config(connector):
    config = dict(
        RangeConnector=dict(source_range=FAR, target_range=NEAR, size=(32, 32)),
        ResizeConnector=dict(size=(32, 32)),
    )
    limits, axes, cells = (NEAR, 'xy', 16)
    if connector == 'RangeConnector':
        limits, cells = FAR, 64
    if connector == 'TransposeConnector':
        axes, cells = 'yx', 32
    link = bound(
        made_up('xy', NEAR, 32, 32),
        made_up(axes, limits, cells, cells),
        dict(type='FitNetLoss'),
        teacher_connector=dict(type=connector, **config.get(connector, {})),
    )
    assert [type(c).__name__ for c in link.teacher_connector] == [connector]


def test_a_resize_between_ranges_or_axes_is_refused_and_both_are_named():
    resize = dict(type='ResizeConnector', size=(32, 32))
    for teacher in (made_up('xy', FAR, 64, 64), made_up('yx', NEAR, 64, 64)):
        with pytest.raises(ValueError, match=r"link 'link'.*'ResizeConnector'.*\(-12.8.*range"):
            bound(
                made_up('xy', NEAR, 32, 32),
                teacher,
                dict(type='FitNetLoss'),
                teacher_connector=resize,
            )


def test_a_connector_on_the_students_side_counts_as_well():
    link = bound(
        made_up('xy', NEAR, 32, 32),
        made_up('yx', NEAR, 32, 32),
        dict(type='FitNetLoss'),
        student_connector=dict(type='TransposeConnector'),
    )
    assert len(link.teacher_connector) == 0
    assert isinstance(link.student_connector[0], TransposeConnector)


def test_cells_that_the_teacher_does_not_see_have_no_weight():
    limits = [-6.4, -12.8, -5.0, 25.6, 12.8, 3.0]  # misses x below -6.4
    link = bound(
        made_up('yx', NEAR, 32, 32), made_up('xy', limits, 40, 32), dict(type='FitNetLoss')
    )
    student = torch.ones(1, 1, 32, 32, requires_grad=True)
    loss = link(student, torch.zeros(1, 1, 40, 32), Step(None, {}, {}, []))
    loss.backward()
    assert student.grad[..., :8].abs().max() == 0 and student.grad[..., 8:].min() > 0
    assert loss == 1  # a mean over what is seen


def test_losses_of_wholes_and_of_objects_get_their_own_kind_of_map():
    student, teacher = made_up('yx', NEAR, 32, 32), made_up('xy', FAR, 64, 64)
    crd = dict(type='CRDLoss', memory=dict(num_samples=4))
    assert isinstance(bound(student, teacher, crd).teacher_connector[0], BEVAligner)
    coarse = made_up('yx', NEAR, 16, 16)
    assert len(bound(student, coarse, crd).teacher_connector) == 0
    for loss in (
        dict(type='ObjectRelationLoss'),
        dict(type='ObjectContrastLoss'),
        dict(type='CRDLoss', granularity='object'),
    ):
        assert len(bound(student, teacher, loss).teacher_connector) == 0


def test_equal_grids_get_no_connector_and_no_mask():
    link = bound(made_up('xy', NEAR, 32, 32), made_up('xy', NEAR, 32, 32), dict(type='FitNetLoss'))
    assert len(link.teacher_connector) == 0


def test_a_mask_lies_on_the_students_grid():
    student, teacher = made_up('yx', NEAR, 32, 32), made_up('xy', FAR, 64, 64)
    link = bound(student, teacher, dict(type='FitNetLoss'), mask=dict(type='BoxMask'))
    force = pull(link, 'yx', 'xy', FAR)
    assert force.abs().argmax() == peak('yx', NEAR, (32, 32), OBJECT).argmax()
    assert force.count_nonzero() < 4
