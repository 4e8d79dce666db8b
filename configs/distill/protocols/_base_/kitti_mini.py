# Length, seeds and metrics of the protocols on the embedded data set in KITTI's form: average
# precision of moderate objects at 40 recalls, in percent. Boxes overlap by at least 0.7 (cars) or
# 0.5, and loosely by 0.5 or 0.25; the mean, by which rows are compared, is of the strict ones.
protocol = dict(
    epochs=4,
    seeds=[0, 1, 2],
    digits=1,
    compared=['Overall_3D_AP40_moderate'],
    metrics=[
        'Car_3D_AP40_moderate_strict',
        'Pedestrian_3D_AP40_moderate_strict',
        'Cyclist_3D_AP40_moderate_strict',
        'Car_3D_AP40_moderate_loose',
        'Pedestrian_3D_AP40_moderate_loose',
        'Cyclist_3D_AP40_moderate_loose',
        'Overall_3D_AP40_moderate',
    ],
    titles=dict(
        Car_3D_AP40_moderate_strict='Car 3D AP R40',
        Pedestrian_3D_AP40_moderate_strict='Pedestrian 3D AP R40',
        Cyclist_3D_AP40_moderate_strict='Cyclist 3D AP R40',
        Car_3D_AP40_moderate_loose='Car, loosely',
        Pedestrian_3D_AP40_moderate_loose='Pedestrian, loosely',
        Cyclist_3D_AP40_moderate_loose='Cyclist, loosely',
        Overall_3D_AP40_moderate='mean',
    ),
)
