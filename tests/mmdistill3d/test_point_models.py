"""Models on raw points: whole samples for the teacher, rows that belong together, matched boxes."""

import copy

import pytest
import torch
from mmengine.registry import MODELS
from scipy.spatial.distance import cdist
from torch import nn

from mmdistill.reading import build_recorder, pass_of
from mmdistill.reading.rows import rows_of
from mmdistill3d.analysis.families import FAMILIES
from mmdistill3d.analysis.point_operators import torch_operators
from mmdistill3d.losses import ProposalKDLoss
from mmdistill3d.losses.response.proposals import read_proposals

NAMED = {family.name: family for family in FAMILIES}


@pytest.fixture(autouse=True)
def operators():
    with torch_operators():
        yield


def distiller(name, link, teacher=None, **options):
    torch.manual_seed(0)
    config = dict(config=teacher or NAMED[name].model(), allow_random_weights=True, **options)
    return MODELS.build(
        dict(type='Distiller', student=NAMED[name].model(), teacher=config, links=dict(link=link))
    ).train()


def step(model, name):
    batch = NAMED[name].batch(model.student)
    return model(**model.data_preprocessor(batch, True), mode='loss')['distill/link']


def link(layer, loss='FitNetLoss', **options):
    return dict(student=layer, teacher=layer, loss=dict(type=loss), **options)


class TestWindows:
    """Segmentors that predict in windows, or cloud by cloud, teach whole clouds."""

    def test_the_teacher_sees_the_students_clouds(self):
        model = distiller('PointNet++', link('decode_head', 'KDLoss'))
        teacher = model.teachers['teacher']
        assert teacher.model.test_cfg.mode == 'slide' and teacher.mode == 'tensor'
        batch = NAMED['PointNet++'].batch(model)
        data = model.data_preprocessor(batch, True)
        with teacher.run(**data) as recording:
            seen = recording['decode_head']
        points = torch.stack(data['inputs']['points'])
        torch.testing.assert_close(seen, teacher.model.decode_head(teacher.model.backbone(points)))

    def test_its_predictions_cannot_be_asked_for(self):
        masked = link('decode_head', mask=dict(type='BoxMask', boxes='teacher', axes='xy'))
        with pytest.raises(ValueError, match="teacher's predictions.*EncoderDecoder3D.*'tensor'"):
            distiller('PointNet++', masked)

    def test_a_mode_may_be_said(self):
        model = distiller('PointNet++', link('backbone[sa_features][1]'), mode='predict')
        assert model.teachers['teacher'].mode == 'predict'
        with pytest.raises(ValueError, match=r"mode out of \('predict', 'tensor'\), not 'whole'"):
            distiller('PointNet++', link('backbone[sa_features][1]'), mode='whole')

    def test_other_models_predict(self):
        assert pass_of(nn.Linear(1, 1)) == 'predict'


class TestRows:
    """Rows are joined where both models sampled the same points."""

    def test_points_sampled_alike_are_joined(self):
        assert step(distiller('VoteNet', link('backbone[fp_features][2]')), 'VoteNet') > 0

    def test_points_sampled_otherwise_are_refused(self):
        by_features, fewer = NAMED['VoteNet'].model(), NAMED['VoteNet'].model()
        by_features.backbone.sa_cfg.fps_mod = ['F-FPS']
        fewer.backbone.num_points = (256, 96, 64, 32)
        for teacher, words in ((by_features, '% of its rows'), (fewer, 'teacher .2, 96, 3.')):
            model = distiller('VoteNet', link('backbone[fp_features][2]'), teacher)
            with pytest.raises(ValueError, match=f"link 'link'.*sampled other points.*{words}"):
                step(model, 'VoteNet')

    def test_proposals_are_never_joined_by_number(self):
        """In training they are sampled among votes, in evaluation among seeds."""
        model = distiller('VoteNet', link('bbox_head[sem_scores]'))
        with pytest.raises(ValueError, match='sampled other points.*a loss that matches'):
            step(model, 'VoteNet')

    def test_one_side_alone_with_points_is_refused(self):
        other = dict(
            student='backbone[fp_features][2]', teacher='bbox_head.conv_pred.conv_cls',
            loss=dict(type='FitNetLoss'),
        )  # fmt: skip
        model = distiller('VoteNet', other)
        with pytest.raises(ValueError, match='sampled other points'):
            step(model, 'VoteNet')

    @pytest.mark.parametrize(
        ('name', 'layer', 'rows'),
        [
            ('VoteNet', 'backbone.SA_modules[1][1]', 'backbone.SA_modules.1[0]'),
            ('VoteNet', 'backbone.FP_modules[0]', 'backbone.FP_modules.0[target] (input)'),
            ('VoteNet', 'backbone[sa_features][2]', 'backbone[sa_xyz][2]'),
            ('VoteNet', 'bbox_head.vote_module[1]', 'bbox_head[seed_points]'),
            ('VoteNet', 'bbox_head[vote_features]', 'bbox_head[seed_points]'),
            ('VoteNet', 'bbox_head.conv_pred', 'bbox_head[aggregated_points]'),
            ('GroupFree3D', "bbox_head['s0.center']", 'bbox_head[query_points_xyz]'),
            ('PointPillars', 'voxel_encoder', 'voxel_encoder[coors] (input)'),
            ('PointPillars', 'neck[0]', None),
        ],
    )
    def test_what_rows_stand_for(self, name, layer, rows):
        model = MODELS.build(NAMED[name].model())
        found = rows_of(model, build_recorder(layer))
        assert found == rows if rows is None else str(found) == rows

    def test_second_stages_are_refused_with_the_reason(self):
        model = MODELS.build(NAMED['PV-RCNN'].model())
        for layer in ('roi_head.bbox_head', 'roi_head.bbox_head.conv_cls'):
            with pytest.raises(ValueError, match='proposals of each model.*Link the first stage'):
                rows_of(model, build_recorder(layer))
        keypoints = rows_of(model, build_recorder('points_encoder[fusion_keypoint_features]'))
        assert str(keypoints) == 'points_encoder[keypoints]'
        assert rows_of(model, build_recorder('roi_head.semantic_head[seg_preds]')) is None


class TestProposals:
    """Boxes that were proposed from points are matched by where they are."""

    @pytest.fixture(params=['VoteNet', '3DSSD', 'GroupFree3D'])
    def head(self, request):
        torch.manual_seed(0)
        model = MODELS.build(NAMED[request.param].model()).eval()
        batch = NAMED[request.param].batch(model)
        with torch.no_grad():
            feature = model.extract_feat(model.data_preprocessor(batch, False)['inputs'])
            return model, model.bbox_head(feature)

    def test_the_order_of_proposals_says_nothing(self, head):
        model, outputs = head
        loss = ProposalKDLoss()
        models = dict(student_model=model, teacher_model=model)
        assert loss(outputs, outputs, **models) == pytest.approx(0, abs=1e-5)
        number = outputs_of_proposals(outputs)
        order = torch.randperm(number)
        shuffled = {key: reorder(value, order, number) for key, value in outputs.items()}
        assert loss(outputs, shuffled, **models) == pytest.approx(0, abs=1e-5)

    def test_its_value_is_that_of_the_pairs_one_by_one(self):
        torch.manual_seed(0)
        model = MODELS.build(NAMED['VoteNet'].model()).eval()
        batch = NAMED['VoteNet'].batch(model)
        with torch.no_grad():
            feature = model.extract_feat(model.data_preprocessor(batch, False)['inputs'])
            mine = model.bbox_head(feature)
        theirs = copy.deepcopy(mine)
        theirs['center'] = theirs['center'] + 0.01
        loss = ProposalKDLoss(class_weight=0, objectness_weight=0, beta=0, max_distance=0.05)
        value = loss(mine, theirs, student_model=model, teacher_model=model)
        # Each proposal moved by as much along x, y and z, and some lie nearer to another's place.
        boxes = [read_proposals(o, model.bbox_head, '').boxes[0, :, :3] for o in (mine, theirs)]
        apart = cdist(*boxes)[~torch.eye(len(boxes[0]), dtype=torch.bool)].min()
        assert apart > 0.1, 'the fixture has proposals on one place'
        assert value == pytest.approx(0.03, rel=1e-3)


def outputs_of_proposals(outputs):
    """How many proposals there are."""
    key = next(key for key in outputs if key.endswith('center') and 'proposal' not in key)
    return outputs[key].shape[1]


def reorder(value, order, number):
    """The proposals of an output in another order, whatever its axes."""
    if not torch.is_tensor(value):
        return value
    axis = next((a for a in (1, 2) if value.dim() > a and value.shape[a] == number), None)
    return value if axis is None else value.index_select(axis, order)


def test_what_fails_behind_the_last_layer_of_a_teacher_is_not_needed():
    """GroupFree3D's own predictions of two samples are wrong, and its teacher never makes them."""
    model = distiller('GroupFree3D', link('backbone[fp_features][2]'))
    values = [step(model.eval(), 'GroupFree3D') for _ in range(2)]
    assert values[0].isfinite() and values[0] == values[1]
