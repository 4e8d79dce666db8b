# Student S on voxels of 0.1125 m: 960 x 960 voxels and 120 x 120 BEV cells of 0.9 m (teacher: 180 x 180).
_base_ = ['bevfusion_lidar_student_s.py']

model = dict(data_preprocessor=dict(voxelize_cfg=dict(voxel_size=[0.1125, 0.1125, 0.2])))
