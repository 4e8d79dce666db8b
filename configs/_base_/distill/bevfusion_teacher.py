# The published detector as a teacher. Its weights: train it, or take the published ones,
#   python tools/convert_checkpoint.py lidar-only-det.pth checkpoints/bevfusion_lidar_teacher.pth
teacher = dict(
    config='configs/bevfusion/bevfusion_lidar_teacher.py',
    checkpoint='checkpoints/bevfusion_lidar_teacher.pth',
)
