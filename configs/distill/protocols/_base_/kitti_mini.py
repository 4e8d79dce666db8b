# Length, seeds and metrics of the protocols on the embedded data set in KITTI's form: average
# precision of moderate objects at 40 recalls, in percent; boxes overlap by 0.7 (cars) or 0.5.
protocol = dict(
    epochs=4,
    seeds=[0, 1, 2],
    metric='Overall_3D_AP40_moderate',
    metrics=[
        'Car_3D_AP40_moderate_strict',
        'Pedestrian_3D_AP40_moderate_strict',
        'Cyclist_3D_AP40_moderate_strict',
        'Overall_3D_AP40_moderate',
    ],
    titles=dict(
        Car_3D_AP40_moderate_strict='Car 3D AP R40',
        Pedestrian_3D_AP40_moderate_strict='Pedestrian 3D AP R40',
        Cyclist_3D_AP40_moderate_strict='Cyclist 3D AP R40',
        Overall_3D_AP40_moderate='mean',
    ),
)
