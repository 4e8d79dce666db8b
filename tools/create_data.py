"""Write the info files and the object database of a data set, from its own files.

nuScenes needs the point files of samples/ and sweeps/ and the metadata of the version; images may
be missing. KITTI needs velodyne/, calib/, label_2/ and image_2/ of training/, and ImageSets/; it
gets reduced clouds, too. Stopped, it goes on where it was; run again, it changes nothing that is
complete.

Example:
    python tools/create_data.py nuscenes --root-path data/nuscenes --version v1.0-trainval
    python tools/create_data.py kitti --root-path data/kitti
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._start import prepare_process

prepare_process()

from mmengine.logging import MMLogger

from kitti_infos import create_kitti
from nuscenes_infos.create import create_nuscenes
from nuscenes_infos.tables import VERSIONS


def main() -> None:
    args = parse_args()
    MMLogger.get_instance('create_data', log_level='WARNING')
    shared = {
        'workers': args.workers,
        'database': not args.no_database,
        'force': args.force,
        'progress': True,
        'report': partial(print, flush=True),
    }
    try:
        if args.dataset == 'kitti':
            create_kitti(args.root_path, args.out_dir, args.extra_tag, args.with_plane, **shared)
        else:
            create_nuscenes(
                args.root_path,
                args.version,
                args.out_dir,
                args.extra_tag,
                max_sweeps=args.max_sweeps,
                allow_partial=args.allow_partial,
                **shared,
            )
    except (ValueError, OSError) as error:
        sys.exit(f'{type(error).__name__}: {error}')
    if args.dataset == 'nuscenes' and args.version != VERSIONS[0]:
        print(
            'The metric must know the version; add to the commands of train.py and test.py:\n'
            f'    --cfg-options val_dataloader.dataset.metainfo.version={args.version} '
            f'test_dataloader.dataset.metainfo.version={args.version}'
        )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest='dataset', required=True, help='kind of the data set')
    nuscenes = kinds.add_parser('nuscenes', help='info files and object database')
    kitti = kinds.add_parser('kitti', help='info files, reduced clouds and object database')
    for name, kind in (('nuscenes', nuscenes), ('kitti', kitti)):
        kind.add_argument(
            '--root-path', type=Path, default=Path('data') / name, help='folder of the data set'
        )
        kind.add_argument('--out-dir', type=Path, help='folder of the results; default: root path')
        kind.add_argument('--extra-tag', default=name, help="first word of the files' names")
        kind.add_argument('--workers', type=count, default=os.cpu_count(), help='processes')
        kind.add_argument(
            '--no-database', action='store_true', help='info files alone, no objects to paste'
        )
        kind.add_argument(
            '--force', action='store_true', help='replace files that differ from what is written'
        )
    nuscenes.add_argument('--version', choices=VERSIONS, default=VERSIONS[0], help='its tables')
    nuscenes.add_argument(
        '--max-sweeps', type=count, default=10, help='sweeps before a key frame, at most'
    )
    nuscenes.add_argument(
        '--allow-partial',
        action='store_true',
        help='leave out scenes whose files are not all there',
    )
    kitti.add_argument(
        '--with-plane',
        action='store_true',
        help='the ground of training/planes/ in the infos, for pasting objects onto it',
    )
    return parser.parse_args()


def count(text: str) -> int:
    """A number of things on the command line, at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f'{number} is less than 0')
    return number


if __name__ == '__main__':
    main()
