# Student S-h64: S with a head of half the width, 4.19 M parameters (50 % of the teacher's).
_base_ = ['bevfusion_lidar_student_s.py']

hidden = 64
model = dict(
    bbox_head=dict(
        hidden_channel=hidden,
        decoder_layer=dict(
            self_attn_cfg=dict(embed_dims=hidden),
            cross_attn_cfg=dict(embed_dims=hidden),
            ffn_cfg=dict(embed_dims=hidden, feedforward_channels=2 * hidden),
            pos_encoding_cfg=dict(num_pos_feats=hidden),
        ),
    ),
)
