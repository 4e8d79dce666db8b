"""mmdet3d's info files (v2), computed from the database rows."""

from pathlib import Path

from lidarsim.tables import VERSION
from nuscenes_infos import NuScenesTables, build_infos, serialize, split_scenes


def write_infos(root: Path, tables: dict[str, list[dict]], sweeps: int) -> None:
    """Write nuscenes_infos_train.pkl and nuscenes_infos_val.pkl.

    A frame lists the sweeps between it and the keyframe before, and no images, for there are none.

    Args:
        root: Folder of the data set.
        tables: Rows by table name.
        sweeps: Sweeps before each keyframe.
    """
    joined = NuScenesTables(root, VERSION, read=tables.__getitem__)
    for split, scenes in split_scenes(joined).items():
        infos = build_infos(joined, scenes, sweeps, cameras=())
        (root / f'nuscenes_infos_{split}.pkl').write_bytes(serialize(infos))
