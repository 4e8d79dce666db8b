"""TransFusionKDLoss against a matching by trying everything, and on real heads."""

import itertools

import pytest
import torch
from mmengine.registry import MODELS

import bevfusion  # noqa: F401  (registers)
from tests.mmdistill3d.conftest import load

CODER = dict(pc_range=[-4.0, -5.0], voxel_size=[0.5, 0.25], out_size_factor=2)
CLASSES, SIZE = 3, (8, 20)
WEIGHTS = [1.0] * 3 + [0.5] * 3 + [2.0] * 2 + [0.1] * 2


def build(**config):
    config = {'student_coder': CODER, 'teacher_coder': CODER, **config}
    return MODELS.build(dict(type='TransFusionKDLoss', **config))


def outputs(number, seed, batch=2, dtype=torch.float64):
    """Raw outputs of a head with ``number`` queries; leaves that ask for gradients."""
    draw = torch.Generator().manual_seed(seed)

    def leaf(*shape, scale=1.0):
        return (scale * torch.randn(batch, *shape, generator=draw)).to(dtype).requires_grad_()

    cells = torch.rand(batch, 2, number, generator=draw) * torch.tensor([*SIZE])[:, None]
    return dict(
        center=cells.to(dtype).requires_grad_(),
        height=leaf(1, number),
        dim=leaf(3, number, scale=0.3),
        rot=leaf(2, number),
        vel=leaf(2, number),
        heatmap=leaf(CLASSES, number),
        query_heatmap_score=torch.rand(batch, CLASSES, number, generator=draw).to(dtype),
        dense_heatmap=leaf(CLASSES, *SIZE),
        query_labels=torch.randint(0, CLASSES, (batch, number), generator=draw),
    )


def smooth_l1(a, b, beta):
    d = abs(a - b)
    return d * d / (2 * beta) if d < beta else d - beta / 2


def naive_query(out, b, q):
    """Box in metric form, class scores, label, peak, confidence and logits of one query."""
    box = [
        out['center'][b, 0, q] * 1.0 - 4,
        out['center'][b, 1, q] * 0.5 - 5,
        out['height'][b, 0, q],
        *(out[key][b, i, q] for key, n in (('dim', 3), ('rot', 2), ('vel', 2)) for i in range(n)),
    ]
    scores = [out['heatmap'][b, k, q].sigmoid() for k in range(CLASSES)]
    label = int(out['query_labels'][b, q])
    peak = out['query_heatmap_score'][b, label, q]
    return box, scores, label, peak, (peak * scores[label]).item()


def quality(p, t):
    return (p - t) ** 2 * (-t * torch.log(p) - (1 - t) * torch.log(1 - p))


def divergence(p, t):
    return t * torch.log(t / p) + (1 - t) * torch.log((1 - t) / (1 - p))


def naive_loss(student, teacher, max_distance, heatmap_weight, distance_of, background):
    class_sum = class_weight = box_sum = box_weight = map_sum = map_weight = 0.0
    for b in range(len(student['center'])):
        mine = [naive_query(student, b, q) for q in range(student['center'].shape[2])]
        theirs = [naive_query(teacher, b, q) for q in range(teacher['center'].shape[2])]
        theirs.sort(key=lambda query: -query[4])
        theirs = theirs[: len(mine)]

        def pair_cost(s, t):
            distance = ((s[0][0] - t[0][0]) ** 2 + (s[0][1] - t[0][1]) ** 2) ** 0.5
            classes = sum(abs(x - y) for x, y in zip(s[1], t[1], strict=True))
            return float(t[4] * (classes + min(distance, max_distance))), float(distance)

        best = min(
            itertools.permutations(range(len(mine)), len(theirs)),
            key=lambda order: sum(
                pair_cost(mine[s], t)[0] for s, t in zip(order, theirs, strict=True)
            ),
        )
        for s, t in zip(best, theirs, strict=True):
            if pair_cost(mine[s], t)[1] < max_distance:
                value = sum(
                    distance_of(x, y.detach()) for x, y in zip(mine[s][1], t[1], strict=True)
                )
                weight = max(t[4], background)
                class_sum, class_weight = class_sum + weight * value, class_weight + weight
                value = sum(
                    w * smooth_l1(x, y.item(), 0.2)
                    for w, x, y in zip(WEIGHTS, mine[s][0], t[0], strict=True)
                )
                box_sum, box_weight = box_sum + t[4] * value, box_weight + t[4]
            x = int((t[0][0] + 4) // 1.0)
            y = int((t[0][1] + 5) // 0.5)
            read = student['dense_heatmap'][b, t[2], x, y].sigmoid()
            map_sum = map_sum + t[4] * distance_of(read, t[3])
            map_weight = map_weight + t[4]
    pairs = class_sum / class_weight + box_sum / box_weight
    return pairs + heatmap_weight * map_sum / map_weight


def leaves(out):
    return {key: value for key, value in out.items() if value.requires_grad}


@pytest.mark.parametrize('numbers', [(5, 5), (5, 3), (3, 5)])
@pytest.mark.parametrize(
    'max_distance, form, background', [(3.0, 'kl', 0.0), (50.0, 'quality', 0.0), (50.0, 'kl', 0.3)]
)
def test_loss_is_the_formula_with_its_gradient(numbers, max_distance, form, background):
    student, teacher = outputs(numbers[0], 0), outputs(numbers[1], 1)
    loss = build(
        max_distance=max_distance,
        form=form,
        background=background,
        heatmap_weight=0.7,
        beta=0.2,
        box_weights=dict(size=0.5, heading=2.0, velocity=0.1),
        loss_weight=2.0,
    )
    distance_of = dict(kl=divergence, quality=quality)[form]
    expected = 2 * naive_loss(student, teacher, max_distance, 0.7, distance_of, background)
    actual = loss(student, teacher)
    torch.testing.assert_close(actual, expected)
    inputs = list(leaves(student).values())
    expected_grads = torch.autograd.grad(
        expected, inputs, allow_unused=True, materialize_grads=True
    )
    actual.backward()
    for leaf, grad in zip(inputs, expected_grads, strict=True):
        torch.testing.assert_close(leaf.grad, grad)
    assert all(value.grad is None for value in leaves(teacher).values())


def permuted(out, order):
    per_query = ('center', 'height', 'dim', 'rot', 'vel', 'heatmap', 'query_heatmap_score')
    new = {key: out[key][..., order] for key in per_query if key in out}
    return {**out, **new, 'query_labels': out['query_labels'][:, order]}


def test_the_order_of_queries_on_either_side_means_nothing():
    student, teacher = outputs(9, 0), outputs(11, 1)
    loss = build(heatmap_weight=1.0)
    expected = loss(student, teacher)
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        for one, other in (
            (student, permuted(teacher, torch.randperm(11, generator=draw))),
            (permuted(student, torch.randperm(9, generator=draw)), teacher),
        ):
            torch.testing.assert_close(loss(one, other), expected)


def test_a_student_that_finds_the_same_objects_in_another_order_costs_nothing():
    teacher = outputs(8, 0)
    student = permuted(teacher, torch.arange(7, -1, -1))
    assert build()(student, teacher) < 1e-9


def test_the_most_confident_queries_teach_and_the_nearest_student_listens():
    student, teacher = outputs(2, 0, batch=1), outputs(3, 1, batch=1)
    with torch.no_grad():
        teacher['center'][0] = torch.tensor([[2.0, 5.0, 2.2], [3.0, 9.0, 3.0]])
        student['center'][0] = torch.tensor([[5.5, 7.0], [9.0, 18.0]])
        teacher['query_heatmap_score'][0] = torch.tensor([0.1, 0.9, 0.1])
    build(num_queries=1)(student, teacher).backward()
    assert student['center'].grad[0, :, 0].abs().sum() > 0
    assert student['center'].grad[0, :, 1].abs().sum() == 0


def test_pairs_far_apart_do_not_pull():
    student, teacher = outputs(1, 0, batch=1), outputs(1, 1, batch=1)
    with torch.no_grad():
        teacher['center'][0] = torch.tensor([[1.0], [1.0]])
        student['center'][0] = torch.tensor([[7.0], [19.0]])
    result = build(heatmap_weight=1.0)(student, teacher)
    result.backward()
    assert student['center'].grad.abs().sum() == 0
    assert student['dense_heatmap'].grad[0, teacher['query_labels'][0, 0], 1, 1] != 0
    assert (student['dense_heatmap'].grad != 0).sum() == 1


def test_of_several_decoder_layers_the_last_counts():
    student, teacher = outputs(4, 0), outputs(4, 1)
    expected = build()(student, teacher)
    per_query = ('center', 'height', 'dim', 'rot', 'vel', 'heatmap')
    earlier = outputs(4, 2)
    stacked = {**student, **{k: torch.cat([earlier[k], student[k]], dim=-1) for k in per_query}}
    torch.testing.assert_close(build()(stacked, teacher), expected)


def test_heads_without_velocity_or_query_labels_are_read():
    student, teacher = outputs(5, 0), outputs(5, 1)
    del student['vel'], student['query_labels'], teacher['query_labels']
    assert build(heatmap_weight=1.0)(student, teacher).isfinite()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_gives_a_finite_float32_loss(dtype):
    student, teacher = outputs(6, 0, dtype=dtype), outputs(6, 1, dtype=dtype)
    with torch.autocast('cpu', torch.bfloat16):
        result = build(heatmap_weight=1.0)(student, teacher)
    result.backward()
    assert result.dtype == torch.float32 and result.isfinite()
    assert all(leaf.grad.isfinite().all() for leaf in leaves(student).values())


@pytest.mark.parametrize('key', ['center', 'dim', 'heatmap'])
@pytest.mark.parametrize('value', [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize('side', ['student', 'teacher'])
def test_a_diverged_query_costs_nothing_and_the_others_count(side, value, key):
    student, teacher = outputs(4, 0), outputs(4, 1)
    with torch.no_grad():
        dict(student=student, teacher=teacher)[side][key][0, 0, 1] = value
    # Every query has a partner, however far.
    result = build(max_distance=1e3, heatmap_weight=1.0)(student, teacher)
    result.backward()
    assert result.isfinite() and result > 0
    assert all(leaf.grad.isfinite().all() for leaf in leaves(student).values())
    moved = student['height'].grad[:, 0].abs() > 0
    assert moved.sum(1).tolist() == [3, 4]
    assert side == 'teacher' or not moved[0, 1]


def test_a_teacher_that_sees_nothing_costs_nothing():
    student, teacher = outputs(4, 0), outputs(4, 1)
    teacher['query_heatmap_score'] *= 0
    result = build(heatmap_weight=1.0)(student, teacher)
    result.backward()
    assert result == 0
    assert all(leaf.grad.abs().sum() == 0 for leaf in leaves(student).values())


def test_what_is_missing_or_does_not_fit_is_named():
    student, teacher = outputs(4, 0), outputs(4, 1)
    with pytest.raises(ValueError, match=r"'bbox_head\[0\]\[0\]'.*without \['height'\]"):
        build()({k: v for k, v in student.items() if k != 'height'}, teacher)
    with pytest.raises(ValueError, match=r'the student has 3 classes.*the teacher 2'):
        other = {k: v[:, :2] if 'heatmap' in k else v for k, v in teacher.items()}
        build()(student, {**other, 'query_labels': teacher['query_labels'] % 2})
    with pytest.raises(ValueError, match='student_model is not given; the boxes are decoded'):
        build(student_coder=None)(student, teacher)
    with pytest.raises(ValueError, match=r"teacher_coder needs .*\['out_size_factor'\]"):
        build(teacher_coder=dict(pc_range=[0, 0], voxel_size=[1, 1]))
    with pytest.raises(ValueError, match=r"box_weights takes .* not \['yaw'\]"):
        build(box_weights=dict(yaw=1))


class TestRealHeads:
    """Two heads of the mini configs, whose coders give the metres."""

    @pytest.fixture
    def detectors(self):
        torch.manual_seed(0)
        found = []
        for name, channels in (('student', 64), ('teacher', 128)):
            head = load(f'bevfusion/bevfusion_lidar_{name}_mini.py').model.bbox_head
            geometry = dict(voxel_size=[0.2, 0.2, 0.4], out_size_factor=4, grid_size=[256, 256, 20])
            head.train_cfg.update(geometry, point_cloud_range=[-25.6, -25.6, -5, 25.6, 25.6, 3])
            head.test_cfg.update(geometry, pc_range=[-25.6, -25.6])
            head.bbox_coder.update(
                voxel_size=[0.2, 0.2], out_size_factor=4, pc_range=[-25.6, -25.6]
            )
            head.num_proposals = 20 if name == 'student' else 30
            detector = torch.nn.ModuleDict(dict(bbox_head=MODELS.build(head)))
            detector.channels = channels
            found.append(detector)
        return found

    def run(self, detector):
        return detector.bbox_head(torch.randn(2, detector.channels, 64, 64))[0][0]

    def test_coders_come_from_the_models_and_gradients_reach_the_student_only(self, detectors):
        student, teacher = detectors
        mine, theirs = self.run(student), self.run(teacher)
        before = {key: value.clone() for key, value in mine.items()}
        loss = build(student_coder=None, teacher_coder=None, heatmap_weight=1.0)
        result = loss(mine, theirs, student_model=student, teacher_model=teacher)
        result.backward()
        assert all(torch.equal(mine[key], before[key]) for key in mine)
        head = student.bbox_head
        assert head.heatmap_head[-1].weight.grad.abs().sum() > 0
        assert head.prediction_heads[0].heatmap[-1].weight.grad.abs().sum() > 0
        assert all(p.grad is None for p in teacher.parameters())
        given = {key: getattr(head.bbox_coder, key) for key in CODER}
        explicit = build(student_coder=given, teacher_coder=given, heatmap_weight=1.0)
        torch.testing.assert_close(explicit(mine, theirs), result)

    def test_metric_boxes_are_those_that_the_head_predicts(self, detectors):
        from mmdistill3d.queries import read_queries

        student = detectors[0].eval()
        outputs = self.run(student)
        coder = student.bbox_head.bbox_coder
        boxes = read_queries(outputs, {key: getattr(coder, key) for key in CODER}).boxes
        keys = ('rot', 'dim', 'center', 'height', 'vel')
        decoded = coder.decode_boxes(*(outputs[key] for key in keys))
        torch.testing.assert_close(boxes[..., :2], decoded[..., :2])
        torch.testing.assert_close(
            boxes[..., 2], decoded[..., 2] + decoded[..., 5] / 2, atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(boxes[..., 3:6].exp(), decoded[..., 3:6])
        torch.testing.assert_close(torch.atan2(boxes[..., 6], boxes[..., 7]), decoded[..., 6])
        torch.testing.assert_close(boxes[..., 8:], decoded[..., 7:])


def test_a_query_of_no_confidence_is_no_background():
    """Confidence 0 marks what the student cannot see or name: it teaches nothing."""
    student, teacher = outputs(4, 0), outputs(4, 1)
    teacher['query_heatmap_score'][..., 2] = 0
    loss = build(background=0.3, max_distance=50.0)
    expected = loss(student, teacher)
    with torch.no_grad():
        teacher['heatmap'][..., 2] += 3.0
    torch.testing.assert_close(loss(student, teacher), expected)
    with torch.no_grad():
        teacher['heatmap'][..., 1] += 3.0
    assert loss(student, teacher) != expected


def test_what_joins_classes_moves_with_the_loss():
    query = dict(type='CRDLoss', granularity='query')
    losses = [build(), MODELS.build(dict(query, student_channels=4, teacher_channels=4))]
    for loss, matcher in zip(losses, (losses[0].matcher, losses[1].sampler.matcher), strict=True):
        assert matcher.columns in loss.modules()


def test_heights_of_tops_are_compared_as_heights_of_centres():
    student, teacher = outputs(6, 0), outputs(6, 1)
    lifted = dict(teacher, height=teacher['height'] + teacher['dim'][:, 2:3].exp() / 2)
    options = dict(student_model=None, teacher_model=None)
    plain = build()(student, teacher, **options)
    top = build(teacher_coder=dict(CODER, height_of='top'))
    torch.testing.assert_close(top(student, lifted, **options), plain)
    assert not torch.isclose(build()(student, lifted, **options), plain)
