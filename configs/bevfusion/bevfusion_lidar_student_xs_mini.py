# A quarter of the teacher's width on the embedded data set: where the teacher's first channels alone no
# longer carry a student.
_base_ = ['bevfusion_lidar_student_mini.py']

hidden = 16
model = dict(
    pts_middle_encoder=dict(
        base_channels=4,
        encoder_channels=((4, 8), (8, 16), (16,)),
        output_channels=16,
    ),
    pts_backbone=dict(in_channels=32, out_channels=[16, 32]),
    pts_neck=dict(in_channels=[16, 32], out_channels=[16, 16]),
    bbox_head=dict(
        in_channels=32,
        hidden_channel=hidden,
        decoder_layer=dict(
            self_attn_cfg=dict(embed_dims=hidden),
            cross_attn_cfg=dict(embed_dims=hidden),
            ffn_cfg=dict(embed_dims=hidden, feedforward_channels=2 * hidden),
            pos_encoding_cfg=dict(num_pos_feats=hidden),
        ),
    ),
)
