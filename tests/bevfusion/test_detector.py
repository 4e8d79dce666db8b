import copy

import pytest
import torch


def losses_of(model, points, samples):
    return model.loss({'points': points}, samples)


def total(losses):
    return sum(value for key, value in losses.items() if 'loss' in key)


@pytest.fixture
def model(mini_cfg, build):
    return build(mini_cfg())


@pytest.mark.parametrize('empty', [(), (0,), (1,), (0, 1)])
def test_empty_clouds_anywhere_in_the_batch_train_and_predict(model, cloud, sample, empty):
    points = [torch.zeros(0, 5) if i in empty else cloud(2000, i) for i in range(2)]
    samples = [sample(5, 0), sample(5, 1)]
    losses = losses_of(model, points, samples)
    total(losses).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    results = model.eval().predict({'points': points}, samples)
    assert [len(result.pred_instances_3d) > 0 for result in results] == [True, True]


def test_frame_without_boxes_trains(model, cloud, sample):
    losses = losses_of(model, [cloud(2000), cloud(2000, 1)], [sample(0), sample(5)])
    total(losses).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_grid_need_not_be_square(mini_cfg, build, cloud, sample):
    reach = (12.8, 25.6)
    model = build(mini_cfg(range_xy_m=reach))
    truth = sample(8, reach_xy_m=(12, 25))
    inputs = {'points': [cloud(2000, reach_xy_m=reach)]}
    assert model.bbox_head.grid_xy == (32, 64)
    outputs = model(inputs, [truth], mode='tensor')
    targets = model.bbox_head.get_targets([truth.gt_instances_3d], outputs[0])
    assert targets.heatmap.shape == outputs[0][0]['dense_heatmap'].shape == (1, 10, 32, 64)
    cell = (truth.gt_instances_3d.bboxes_3d.tensor[:, :2] + torch.tensor(reach)) / 0.8
    for (x, y), label in zip(cell.int(), truth.gt_instances_3d.labels_3d, strict=True):
        assert targets.heatmap[0, label, x, y] == 1
    total(model.loss(inputs, [truth])).backward()
    boxes = model.eval().predict(inputs, [truth])[0].pred_instances_3d.bboxes_3d.tensor
    assert boxes[:, 0].abs().max() < boxes[:, 1].abs().max()


def test_a_batch_predicts_what_its_samples_predict_alone(model, cloud, sample):
    model.eval()
    clouds, samples = [cloud(3000, 1), cloud(500, 2)], [sample(0), sample(0)]
    together = model.predict({'points': clouds}, copy.deepcopy(samples))
    for index in range(2):
        alone = model.predict({'points': [clouds[index]]}, [copy.deepcopy(samples[index])])
        ours, theirs = together[index].pred_instances_3d, alone[0].pred_instances_3d
        assert torch.allclose(ours.scores_3d, theirs.scores_3d, atol=1e-5)
        assert torch.equal(ours.labels_3d, theirs.labels_3d)
        assert torch.allclose(ours.bboxes_3d.tensor, theirs.bboxes_3d.tensor, atol=1e-3)


def test_given_voxels_are_used_instead_of_voxelising_again(model, cloud):
    model.eval()
    points = [cloud(2000)]
    expected = model.extract_feat({'points': points})[0]
    voxels = model.voxelize(points)
    nothing = [points[0][:0]]
    shared = model.extract_feat({'points': nothing, 'pts_voxels': voxels})[0]
    assert torch.equal(shared, expected)


def test_training_step_through_the_data_preprocessor(model, cloud, sample):
    data = {'inputs': {'points': [cloud(2000)]}, 'data_samples': [sample(5)]}
    data = model.data_preprocessor(data, training=True)
    losses = model(**data, mode='loss')
    loss, logged = model.parse_losses(losses)
    loss.backward()
    assert {'loss', 'loss_heatmap', 'layer_-1_loss_cls', 'layer_-1_loss_bbox'} <= set(logged)
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []


def test_bfloat16_autocast_trains(model, cloud, sample):
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = losses_of(model, [cloud(2000)], [sample(5)])
    total(losses).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_config_is_not_changed_by_building(mini_cfg, build):
    cfg = mini_cfg()
    before = copy.deepcopy(cfg)
    build(cfg)
    assert cfg == before


def test_sizes_may_be_left_out_or_given(mini_cfg, build):
    cfg = mini_cfg()
    derived = build(cfg)
    head = cfg['bbox_head']
    sizes = dict(voxel_size=[0.2, 0.2, 0.4], grid_size=[256, 256, 21], out_size_factor=4)
    cfg['pts_middle_encoder']['sparse_shape'] = [256, 256, 21]
    limits = [-25.6, -25.6, -5.0, 25.6, 25.6, 3.0]
    head['train_cfg'].update(sizes, point_cloud_range=limits)
    head['test_cfg'].update(sizes, pc_range=limits[:2])
    head['bbox_coder'].update(voxel_size=[0.2, 0.2], pc_range=limits[:2], out_size_factor=4)
    given = build(cfg)
    assert derived.pts_middle_encoder.sparse_shape == given.pts_middle_encoder.sparse_shape
    assert derived.bbox_head.train_cfg == given.bbox_head.train_cfg
    assert derived.bbox_head.test_cfg == given.bbox_head.test_cfg


class TestRefusals:
    def test_cells_that_the_neck_cannot_join(self, mini_cfg, build):
        with pytest.raises(ValueError, match=r'backbone and neck fail.*256, 264'):
            build(mini_cfg(range_xy_m=(25.8, 25.8)))

    def test_cells_that_the_factor_does_not_divide(self, mini_cfg, build):
        cfg = mini_cfg(range_xy_m=(25.4, 25.4))  # 254 cells, 64 after the convolutions
        cfg['bbox_head']['test_cfg']['out_size_factor'] = 4
        with pytest.raises(ValueError, match=r'254 x 254 .*\(63, 63\).*\(64, 64\).*256'):
            build(cfg)

    def test_head_grid_of_another_config(self, mini_cfg, build):
        cfg = mini_cfg()
        cfg['bbox_head']['test_cfg']['grid_size'] = [512, 512, 21]
        with pytest.raises(ValueError, match=r'test_cfg\.grid_size of the head'):
            build(cfg)

    def test_sparse_shape_of_another_config(self, mini_cfg, build):
        cfg = mini_cfg()
        cfg['pts_middle_encoder']['sparse_shape'] = [512, 512, 21]
        with pytest.raises(ValueError, match='sparse_shape of the encoder'):
            build(cfg)

    def test_channels_that_do_not_fit(self, mini_cfg, build):
        cfg = mini_cfg()
        cfg['bbox_head']['in_channels'] = 512
        with pytest.raises(ValueError, match='in_channels of the head is 512, the neck gives 64'):
            build(cfg)

    def test_camera_parts(self, mini_cfg, build):
        with pytest.raises(ValueError, match='img_backbone'):
            build({**mini_cfg(), 'img_backbone': dict(type='ResNet')})

    def test_unknown_arguments(self, mini_cfg, build):
        with pytest.raises(ValueError, match='pts_bakbone'):
            build({**mini_cfg(), 'pts_bakbone': dict()})

    def test_missing_voxelize_cfg(self, mini_cfg, build):
        cfg = mini_cfg()
        del cfg['data_preprocessor']['voxelize_cfg']
        with pytest.raises(ValueError, match='voxelize_cfg'):
            build(cfg)


@pytest.mark.gpu
def test_cuda_predicts_what_the_cpu_predicts(model, cloud, sample):
    model.eval()
    points, truth = cloud(3000), [sample(0)]
    on_cpu = model.predict({'points': [points]}, copy.deepcopy(truth))[0].pred_instances_3d
    on_cuda = model.cuda().predict({'points': [points.cuda()]}, truth)[0].pred_instances_3d
    assert torch.allclose(on_cpu.scores_3d, on_cuda.scores_3d.cpu(), atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_cuda_trains_under_autocast(model, cloud, sample, dtype):
    model.cuda()
    with torch.autocast('cuda', dtype=dtype, enabled=dtype != torch.float32):
        losses = losses_of(model, [cloud(3000).cuda()], [sample(5)])
    total(losses).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())


class TestWhatDoesNotFitIsNamed:
    """With both numbers and the key to change, at build or at the first sample."""

    @pytest.mark.parametrize(
        ('key', 'value', 'message'),
        [
            ('num_proposals', 40961, 'num_proposals is 40961, .* 40960 places: 10 .* 64 x 64'),
            (
                'bbox_coder',
                dict(code_size=8),
                "give 10 numbers for a box .*'vel': 2.*code_size of the bbox_coder is 8",
            ),
            (
                'common_heads',
                dict(vel=None),
                'give 8 numbers for a box .*code_size of the bbox_coder is 10',
            ),
            (
                'train_cfg',
                dict(code_weights=[1.0] * 8),
                'code_weights has 8 numbers, code_size of the bbox_coder is 10',
            ),
        ],
    )
    def test_sizes_of_the_head(self, mini_cfg, build, key, value, message):
        cfg = mini_cfg()
        head = cfg['bbox_head']
        head[key] = {**head[key], **value} if isinstance(value, dict) else value
        head[key] = _without_none(head[key])
        with pytest.raises(ValueError, match=message):
            build(cfg)

    def test_columns_of_points(self, model, cloud, sample):
        message = r'points have 4 columns, and in_channels of pts_middle_encoder is 5.*use_dim'
        with pytest.raises(ValueError, match=message):
            model.loss({'points': [cloud(200)[:, :4]]}, [sample(2)])

    def test_boxes_without_velocity(self, model, cloud, sample):
        truth = sample(2)
        boxes = truth.gt_instances_3d.bboxes_3d
        boxes.tensor = boxes.tensor[:, :7]
        message = 'boxes have 7 columns, and code_size=10 .* needs 9.*with_velocity=True'
        with pytest.raises(ValueError, match=message):
            model.loss({'points': [cloud(200)]}, [truth])

    @pytest.mark.parametrize('label', [-1, 10])
    def test_labels(self, model, cloud, sample, label):
        truth = sample(3)
        truth.gt_instances_3d.labels_3d[1] = label
        message = rf'have the labels \[{label}\], and num_classes of the head is 10'
        with pytest.raises(ValueError, match=message):
            model.loss({'points': [cloud(200)]}, [truth])

    def test_a_model_without_velocity_takes_boxes_of_either_kind(
        self, mini_cfg, build, cloud, sample
    ):
        cfg = mini_cfg()
        del cfg['bbox_head']['common_heads']['vel']
        cfg['bbox_head']['bbox_coder']['code_size'] = 8
        cfg['bbox_head']['train_cfg']['code_weights'] = [1.0] * 8
        model, results = build(cfg), []
        for columns in (7, 9):
            truth = sample(3)
            boxes = truth.gt_instances_3d.bboxes_3d
            boxes.tensor = boxes.tensor[:, :columns]
            results.append(model.loss({'points': [cloud(200)]}, [truth])['layer_-1_loss_bbox'])
        assert results[0].isfinite() and results[0] > 0 and results[1].isfinite()


def _without_none(value):
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if item is not None}
