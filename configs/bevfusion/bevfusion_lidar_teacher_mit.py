# The published detector with the weights of mit-han-lab/bevfusion, converted:
#   python tools/convert_checkpoint.py lidar-only-det.pth checkpoints/bevfusion_lidar_teacher_mit.pth
# Its heights are those of the tops of boxes.
_base_ = 'bevfusion_lidar_teacher.py'
model = dict(bbox_head=dict(bbox_coder=dict(height_of='top')))
