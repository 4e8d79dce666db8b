"""The ten detection classes of nuScenes, and the categories that belong to each."""

CLASSES = (
    'car',
    'truck',
    'trailer',
    'bus',
    'construction_vehicle',
    'bicycle',
    'motorcycle',
    'pedestrian',
    'traffic_cone',
    'barrier',
)
"""In the order of their labels, that of MMDetection3D's ``NuScenesDataset``."""

CATEGORY_TO_CLASS = {
    'vehicle.car': 'car',
    'vehicle.truck': 'truck',
    'vehicle.trailer': 'trailer',
    'vehicle.bus.bendy': 'bus',
    'vehicle.bus.rigid': 'bus',
    'vehicle.construction': 'construction_vehicle',
    'vehicle.bicycle': 'bicycle',
    'vehicle.motorcycle': 'motorcycle',
    'human.pedestrian.adult': 'pedestrian',
    'human.pedestrian.child': 'pedestrian',
    'human.pedestrian.construction_worker': 'pedestrian',
    'human.pedestrian.police_officer': 'pedestrian',
    'movable_object.trafficcone': 'traffic_cone',
    'movable_object.barrier': 'barrier',
}
"""Categories without an entry (animals, debris, ...) are not detected."""
