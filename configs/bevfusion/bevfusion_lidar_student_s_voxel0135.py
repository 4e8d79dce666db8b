# Student S on voxels of 0.135 m: 800 x 800 voxels and 100 x 100 BEV cells of 1.08 m (teacher: 180 x 180).
_base_ = ['bevfusion_lidar_student_s.py']

model = dict(data_preprocessor=dict(voxelize_cfg=dict(voxel_size=[0.135, 0.135, 0.2])))
