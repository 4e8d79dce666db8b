# Student S on voxels of 0.09 m: 1200 x 1200 voxels and 150 x 150 BEV cells of 0.72 m (teacher: 180 x 180).
_base_ = ['bevfusion_lidar_student_s.py']

model = dict(data_preprocessor=dict(voxelize_cfg=dict(voxel_size=[0.09, 0.09, 0.2])))
