# The teacher on the embedded data set: the published detector in small, for one CPU core.
# BEV cells of 0.8 m: voxels of 0.2 m and an encoder of three stages.
_base_ = [
    '../_base_/models/bevfusion_lidar.py',
    '../_base_/datasets/lidarsim.py',
    '../_base_/schedules/mini.py',
    '../_base_/default_runtime.py',
]

# Attention dropout would take a tenth of a training step's time on a CPU.
hidden = 64
model = dict(
    data_preprocessor=dict(
        voxelize_cfg=dict(
            point_cloud_range={{_base_.point_cloud_range}},
            voxel_size=[0.2, 0.2, 0.4],
            max_voxels=[30000, 40000],
            feature_scale=[0.04, 0.04, 0.5, 0.02, 6.0],  # x, y, z, intensity, time: all about 0.5
        )
    ),
    pts_middle_encoder=dict(
        encoder_channels=((16, 16, 32), (32, 32, 64), (64, 64)),
        encoder_paddings=((0, 0, 1), (0, 0, (1, 1, 0)), (0, 0)),
        output_channels=64,
    ),
    pts_backbone=dict(in_channels=128, out_channels=[64, 128], layer_nums=[3, 3]),
    pts_neck=dict(in_channels=[64, 128], out_channels=[64, 64]),
    bbox_head=dict(
        num_proposals=80,
        in_channels=128,
        hidden_channel=hidden,
        decoder_layer=dict(
            self_attn_cfg=dict(embed_dims=hidden, num_heads=4, dropout=0.0),
            cross_attn_cfg=dict(embed_dims=hidden, num_heads=4, dropout=0.0),
            ffn_cfg=dict(embed_dims=hidden, feedforward_channels=2 * hidden),
            pos_encoding_cfg=dict(num_pos_feats=hidden),
        ),
        # The published 0.2 for velocities is for longer schedules: most objects stand still.
        train_cfg=dict(code_weights=[1.0] * 10),
        bbox_coder=dict(post_center_range=[-30.0, -30.0, -10.0, 30.0, 30.0, 10.0]),
    ),
)

default_hooks = dict(
    logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=2, save_last=True)
)
log_processor = dict(window_size=25)
custom_hooks = [dict(type='RandomStateHook')]  # a resumed run goes on as it was
