# The student on the embedded data set: half the width, and half the encoder's residual blocks.
_base_ = ['bevfusion_lidar_teacher_mini.py']

hidden = 32
model = dict(
    pts_middle_encoder=dict(
        base_channels=8,
        encoder_channels=((8, 16), (16, 32), (32,)),
        encoder_paddings=((0, 1), (0, (1, 1, 0)), (0,)),
        output_channels=32,
    ),
    pts_backbone=dict(in_channels=64, out_channels=[32, 64]),
    pts_neck=dict(in_channels=[32, 64], out_channels=[32, 32]),
    bbox_head=dict(
        in_channels=64,
        hidden_channel=hidden,
        decoder_layer=dict(
            self_attn_cfg=dict(embed_dims=hidden),
            cross_attn_cfg=dict(embed_dims=hidden),
            ffn_cfg=dict(embed_dims=hidden, feedforward_channels=2 * hidden),
            pos_encoding_cfg=dict(num_pos_feats=hidden),
        ),
    ),
)
