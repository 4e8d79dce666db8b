"""AnchorHeadKDLoss on real anchor heads, against the formula in loops."""

import pytest
import torch
from mmengine.registry import MODELS

import mmdistill3d  # noqa: F401  (registers)
from mmdistill.reading import Layer, build_recorder

RANGE = [-8.0, -6.0, -1.0, 8.0, 6.0, -1.0]
SIZE = (6, 8)
WEIGHTS = [1.0] * 3 + [0.5] * 3 + [2.0] * 2 + [0.2] * 2


def build(**config):
    return MODELS.build(dict(type='AnchorHeadKDLoss', **config))


def detector(channels=8, custom_values=(0, 0), sizes=None, **config):
    generator = dict(
        type='AlignedAnchor3DRangeGenerator',
        ranges=[RANGE],
        scales=[1],
        sizes=sizes or [[4.0, 2.0, 1.5], [1.0, 1.0, 1.8]],
        custom_values=list(custom_values),
        rotations=[0, 1.57],
        reshape_out=True,
    )
    head = dict(
        type='Anchor3DHead',
        num_classes=3,
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=generator,
        bbox_coder=dict(type='DeltaXYZWLHRBBoxCoder', code_size=7 + len(custom_values)),
        loss_cls=dict(type='mmdet.FocalLoss', use_sigmoid=True),
        test_cfg=dict(nms_pre=100, score_thr=0.0, nms_thr=1.0, max_num=400, use_rotate_nms=False),
    )
    model = torch.nn.Module()
    model.bbox_head = MODELS.build({**head, **config})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.double()


def run(model, seed):
    head = model.bbox_head
    draw = torch.Generator().manual_seed(seed)
    return head([torch.randn(2, head.in_channels, *SIZE, generator=draw, dtype=torch.float64)])


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return detector(8), detector(12)


def smooth_l1(a, b, beta):
    d = abs(a - b)
    return d * d / (2 * beta) if d < beta else d - beta / 2


def metric_box(anchor, code, turns):
    """The decoding of anchor boxes, written out; ``anchor`` stands on its bottom."""
    x, y, z, length, width, height, yaw = anchor[:7]
    diagonal = (length**2 + width**2) ** 0.5
    box = [code[0] * diagonal + x, code[1] * diagonal + y, code[2] * height + z + height / 2]
    box += [torch.log(s) + code[3 + i] for i, s in enumerate((length, width, height))]
    angle = turns * (yaw + code[6])
    return [*box, torch.sin(angle), torch.cos(angle), *code[7:9]]


def naive_loss(student, teacher, anchors, score_thr, most, turns):
    """Anchor ``i`` of the flat order is cell ``i // 4`` (rows of y), kind ``i % 4``."""
    class_sum = weight_sum = box_sum = 0.0
    for b in range(2):
        rows = []
        for h in range(SIZE[0]):
            for w in range(SIZE[1]):
                for a in range(4):
                    parts = []
                    for out in (student, teacher):
                        logits = out[0][0][b, 3 * a : 3 * a + 3, h, w]
                        columns = out[1][0].shape[1] // 4
                        code = out[1][0][b, columns * a : columns * (a + 1), h, w]
                        bins = None if turns == 1 else out[2][0][b, 2 * a : 2 * a + 2, h, w]
                        parts.append((logits, code, bins))
                    scores = parts[1][0].detach().sigmoid()
                    p = parts[0][0].sigmoid()
                    for k in range(3):
                        t = scores[k]
                        entropy = -t * torch.log(p[k]) - (1 - t) * torch.log(1 - p[k])
                        class_sum = class_sum + (p[k] - t) ** 2 * entropy
                    anchor = anchors[(h * SIZE[1] + w) * 4 + a]
                    rows.append((scores.max().item(), parts, anchor))
        rows.sort(key=lambda row: -row[0])
        for confidence, parts, anchor in rows[:most]:
            if confidence < score_thr:
                continue
            mine = metric_box(anchor, parts[0][1], turns)
            theirs = metric_box(anchor, parts[1][1].detach(), turns)
            value = sum(
                w * smooth_l1(x, y, 0.2)
                for w, x, y in zip(WEIGHTS[: len(mine)], mine, theirs, strict=True)
            )
            if turns == 2:
                q, r = parts[0][2].softmax(0), parts[1][2].detach().softmax(0)
                value = value + 0.3 * sum(r[i] * torch.log(r[i] / q[i]) for i in range(2))
            box_sum = box_sum + confidence * value
            weight_sum += confidence
    return class_sum / max(weight_sum, 1) + box_sum / weight_sum


@pytest.mark.parametrize('columns, direction', [(2, True), (0, True), (2, False)])
def test_loss_is_the_formula_with_its_gradient(columns, direction):
    torch.manual_seed(0)
    kwargs = dict(custom_values=[0] * columns, use_direction_classifier=direction)
    student, teacher = detector(8, **kwargs), detector(12, **kwargs)
    mine, theirs = run(student, 0), run(teacher, 1)
    loss = build(
        score_thr=0.6,
        max_anchors=20,
        direction_weight=0.3,
        beta=0.2,
        box_weights=dict(size=0.5, heading=2.0),
        loss_weight=2.0,
    )
    (anchors,) = student.bbox_head.prior_generator.grid_anchors([SIZE], device='cpu')
    expected = 2 * naive_loss(mine, theirs, anchors.double(), 0.6, 20, 2 if direction else 1)
    actual = loss(mine, theirs, student_model=student, teacher_model=teacher)
    torch.testing.assert_close(actual, expected)
    leaves = [part[0] for part in mine if part[0] is not None]
    grads = torch.autograd.grad(expected, leaves)
    for mine_grad, grad in zip(torch.autograd.grad(actual, leaves), grads, strict=True):
        torch.testing.assert_close(mine_grad, grad)


def test_gradients_reach_the_student_only_and_equal_heads_cost_nothing(pair):
    student, teacher = pair
    theirs = run(teacher, 1)
    loss = build()
    loss(run(student, 0), theirs, student_model=student, teacher_model=teacher).backward()
    assert all(p.grad.abs().sum() > 0 for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())
    assert loss(theirs, theirs, student_model=teacher, teacher_model=teacher) < 1e-9


def test_a_teacher_without_foreground_teaches_its_silence(pair):
    student, teacher = pair
    mine, theirs = run(student, 0), run(teacher, 1)
    theirs[0][0] = theirs[0][0].detach() * 0 - 5
    loss = build()(mine, theirs, student_model=student, teacher_model=teacher)
    scores, boxes = torch.autograd.grad(loss, [mine[0][0], mine[1][0]])
    assert loss.isfinite() and scores.abs().sum() > 0 and boxes.abs().sum() == 0


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_gives_a_finite_float32_loss(pair, dtype):
    student, teacher = pair
    mine, theirs = run(student, 0), run(teacher, 1)
    mine, theirs = ([[level.to(dtype) for level in part] for part in out] for out in (mine, theirs))
    with torch.autocast('cpu', torch.bfloat16):
        result = build()(mine, theirs, student_model=student, teacher_model=teacher)
    assert result.dtype == torch.float32 and result.isfinite()
    grads = torch.autograd.grad(result, [part[0] for part in mine])
    assert all(grad.isfinite().all() for grad in grads)


def test_other_anchors_are_refused_and_both_generators_are_named(pair):
    student = pair[0]
    teacher = detector(8, sizes=[[4.0, 2.0, 1.5], [1.2, 1.0, 1.8]])
    with pytest.raises(ValueError, match=r'anchor by anchor.*\[1\.0, 1\.0, 1\.8.*\[1\.2, 1\.0'):
        build()(run(student, 0), run(teacher, 0), student_model=student, teacher_model=teacher)


@pytest.mark.parametrize(
    'config, message',
    [
        (dict(num_classes=2), 'the same anchors, classes and use_direction_classifier'),
        (dict(use_direction_classifier=False), 'use_direction_classifier'),
        (dict(dir_offset=0.7), r'= \(-1\.57.*, 0\) for the student and \(0\.7, 0\)'),
        (dict(loss_cls=dict(type='mmdet.CrossEntropyLoss')), "the teacher's head .* softmax"),
    ],
)
def test_heads_of_another_kind_are_refused(pair, config, message):
    student, teacher = pair[0], detector(8, **config)
    with pytest.raises(ValueError, match=message):
        build()(run(student, 0), run(teacher, 0), student_model=student, teacher_model=teacher)


def test_a_single_map_and_a_model_without_head_are_named(pair):
    student = pair[0]
    out = run(student, 0)
    with pytest.raises(ValueError, match='link a whole Anchor3DHead'):
        build()(out[0][0], out, student_model=student, teacher_model=student)
    with pytest.raises(ValueError, match='teacher_model is a Linear; the boxes are decoded'):
        build()(out, out, student_model=student, teacher_model=torch.nn.Linear(1, 1))


def test_ssns_head_is_read_with_its_anchors_of_each_class():
    torch.manual_seed(0)
    generator = dict(
        type='AlignedAnchor3DRangeGeneratorPerCls',
        ranges=[RANGE] * 3,
        sizes=[[4.0, 2.0, 1.5], [8.0, 2.5, 3.0], [1.0, 1.0, 1.8]],
        custom_values=[0, 0],
        rotations=[0, 1.57],
        reshape_out=False,
    )
    tasks = [
        dict(num_class=2, class_names=['car', 'truck'], shared_conv_strides=[2]),
        dict(num_class=1, class_names=['pedestrian'], shared_conv_strides=[1]),
    ]
    for task in tasks:
        task['shared_conv_channels'] = [8]
    student, teacher = (
        detector(
            channels,
            type='ShapeAwareHead',
            tasks=tasks,
            anchor_generator=dict(generator),
            bbox_coder=dict(type='DeltaXYZWLHRBBoxCoder', code_size=9),
        )
        for channels in (8, 12)
    )
    mine, theirs = run(student, 0), run(teacher, 1)
    loss = build()(mine, theirs, student_model=student, teacher_model=teacher)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None for p in student.bbox_head.heads.parameters())


def two_stage(channels):
    """A detector whose anchors are those of its region proposals, as PartA2 and PV-RCNN."""
    model = detector(channels)
    model.rpn_head = model.bbox_head
    del model.bbox_head
    return model


def test_the_head_of_a_linked_rpn_is_read_under_its_own_address():
    torch.manual_seed(0)
    student, teacher = two_stage(8), two_stage(12)
    outputs = []
    for seed, model in enumerate((student, teacher)):
        draw = torch.Generator().manual_seed(seed)
        feature = torch.randn(
            2, model.rpn_head.in_channels, *SIZE, generator=draw, dtype=torch.float64
        )
        outputs.append(model.rpn_head([feature]))
    models = dict(student_model=student, teacher_model=teacher)
    loss = build()
    with pytest.raises(ValueError, match='the boxes are decoded by its bbox_head'):
        loss(*outputs, **models)
    address = build_recorder('rpn_head')
    loss.bind(Layer(address, student), Layer(address, teacher))
    actual = loss(*outputs, **models)
    for model in models.values():
        model.bbox_head = model.rpn_head
    assert torch.equal(actual, build()(*outputs, **models))


def test_scores_are_joined_by_the_names_of_their_classes(pair):
    student, teacher = pair
    student.dataset_meta = dict(classes=('car', 'cyclist', 'person'))
    teacher.dataset_meta = dict(classes=('person', 'car', 'cyclist'))
    models = dict(student_model=student, teacher_model=teacher)
    mine, theirs = run(student, 0), run(teacher, 1)
    loss = build()
    loss.bind_classes(student, teacher)
    scores = theirs[0][0].unflatten(1, (4, 3))[:, :, [1, 2, 0]].flatten(1, 2)
    expected = build()(mine, ([scores], *theirs[1:]), **models)
    assert torch.equal(loss(mine, theirs, **models), expected)
