"""Draw single frames from above: points, ground truth and predictions.

Example:
    python tools/visualize.py --data data/lidarsim --index 0 25 --out work_dirs/pictures
    python tools/visualize.py CONFIG --checkpoint FILE --index 0 --out work_dirs/pictures

The first form needs no model and no config. The second draws what the model of a config sees; its
predictions, too, if a checkpoint is given.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path[0] = str(Path(__file__).resolve().parents[1])
from tools._common import check_checkpoint, check_config, check_data, prepare_process

prepare_process()

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

COLOURS = {
    'car': '#ffb000',
    'truck': '#ff5d3b',
    'trailer': '#c46bff',
    'bus': '#ffe74a',
    'construction_vehicle': '#b5793f',
    'bicycle': '#ff4fa3',
    'motorcycle': '#f0134d',
    'pedestrian': '#35a2ff',
    'traffic_cone': '#31d68f',
    'barrier': '#c3cedb',
}
HEIGHTS = LinearSegmentedColormap.from_list(
    'height', ['#3b4a6b', '#4c86a8', '#57c4ad', '#c7e77f', '#fff3c4']
)
DASHED = (0, (2.2, 1.2))


@dataclass
class Boxes:
    """Boxes in the LiDAR frame.

    Args:
        boxes (np.ndarray): (N, >=7) x, y, z, length, width, height in metres, yaw in radians.
        labels (np.ndarray): (N,) class indices.
        scores (np.ndarray, optional): (N,) confidences; None for ground truth.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None


@dataclass
class Frame:
    """What is drawn in one picture.

    Args:
        name (str): title, and the file name after '/' and blanks are replaced.
        points (np.ndarray): (P, >=3) x, y, z in metres, LiDAR frame.
        truth (Boxes): ground truth.
        predictions (Boxes, optional): detections.
    """

    name: str
    points: np.ndarray
    truth: Boxes
    predictions: Boxes | None = None


def main() -> None:
    args = parse_args()
    try:
        frames, classes = frames_of_data(args) if args.data else frames_of_config(args)
        for frame in frames:
            file = args.out / f'{frame.name.replace("/", "_").replace(" ", "_")}.png'
            draw_bev(frame, classes, file, args.range, args.dpi)
            sys.stdout.write(f'{file}\n')
    except (FileNotFoundError, ValueError, IndexError) as error:
        sys.exit(f'{type(error).__name__}: {error}')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', nargs='?', help='path of the config file')
    parser.add_argument('--data', type=Path, help='draw this lidarsim data set; no config needed')
    parser.add_argument('--checkpoint', help='path or URL of the weights for predictions')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='val')
    parser.add_argument('--index', type=int, nargs='+', default=[0], help='frames of the split')
    parser.add_argument('--out', type=Path, required=True, help='folder for the pictures')
    parser.add_argument('--score-thr', type=float, default=0.2, help='lowest score that is drawn')
    parser.add_argument('--range', type=float, default=30.0, help='half width in metres')
    parser.add_argument('--dpi', type=int, default=110, help='resolution; 10.6 x 8 inches')
    parser.add_argument('--device', help="device of the model; default 'cuda' where there is one")
    args = parser.parse_args()
    if bool(args.config) == bool(args.data):
        parser.error('give either a config or --data')
    if args.data and args.checkpoint:
        parser.error('--checkpoint needs a config, not --data')
    return args


def draw_bev(
    frame: Frame, classes: Sequence[str], file: Path, range_m: float = 30.0, dpi: int = 110
) -> None:
    """Write one picture of a frame seen from above: x to the right, y forward.

    Points are coloured by height. Ground truth has solid lines, predictions have dashed lines and
    scores; a tick from the centre through the front shows the heading.

    Args:
        frame (Frame): what to draw.
        classes (Sequence[str]): class names, in the order of the labels.
        file (Path): picture to write; its suffix names the format.
        range_m (float): half the width of the picture. Defaults to 30.
        dpi (int): resolution; the picture is about 10 x 8 inches. Defaults to 110.
    """
    figure, axes = plt.subplots(figsize=(10.6, 8.0), dpi=dpi, layout='compressed')
    axes.set_facecolor('#0e1118')
    points = frame.points[np.abs(frame.points[:, :2]).max(axis=1) < range_m]
    x, y, z = points[np.argsort(points[:, 2])][:, :3].T
    dots = axes.scatter(x, y, c=z, s=1.6, cmap=HEIGHTS, vmin=-2, vmax=2, linewidths=0)
    for radius in range(10, int(range_m * 1.5), 10):
        axes.add_patch(plt.Circle((0, 0), radius, fill=False, color='#59657c', lw=0.6, ls=':'))
        if radius < range_m:
            axes.annotate(f'{radius} m', (0.3, radius + 0.3), color='#9aa6bd', fontsize=7)
    axes.plot(0, 0, marker='^', color='white', markersize=8)

    _draw_boxes(axes, frame.truth, classes, '-')
    if frame.predictions is not None:
        _draw_boxes(axes, frame.predictions, classes, DASHED)
    axes.set(xlim=(-range_m, range_m), ylim=(-range_m, range_m), aspect='equal')
    axes.set(xlabel='x, to the right (m)', ylabel='y, forward (m)', title=frame.name)
    figure.colorbar(dots, ax=axes, label='height above the sensor (m)', shrink=0.45, anchor=(0, 0))
    figure.legend(
        handles=_legend(frame, classes),
        loc='upper left',
        bbox_to_anchor=(1.01, 1.0),
        bbox_transform=axes.transAxes,
        fontsize=8,
        frameon=False,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    plt.close(figure)


def _draw_boxes(axes: plt.Axes, objects: Boxes, classes: Sequence[str], style: Any) -> None:
    """Rectangles, headings, and scores if there are any."""
    boxes = np.asarray(objects.boxes, float)
    if not len(boxes):
        return
    outline = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1], [1, 1]]) / 2
    heading = np.zeros((len(boxes), 2, 2))
    heading[:, 1, 0] = boxes[:, 3] / 2 + 0.6
    cos, sin = np.cos(boxes[:, 6, None]), np.sin(boxes[:, 6, None])
    colours = [_colour(classes, label) for label in objects.labels]
    for shape in (outline * boxes[:, None, 3:5], heading):
        x = boxes[:, None, 0] + cos * shape[..., 0] - sin * shape[..., 1]
        y = boxes[:, None, 1] + sin * shape[..., 0] + cos * shape[..., 1]
        lines = np.stack([x, y], axis=-1)
        axes.add_collection(LineCollection(lines, colors=colours, linewidths=1.3, linestyles=style))
    if objects.scores is not None:
        for box, score, colour in zip(boxes, objects.scores, colours, strict=True):
            axes.annotate(f'{score:.2f}', box[:2], color=colour, fontsize=6, annotation_clip=True)


def _legend(frame: Frame, classes: Sequence[str]) -> list[Line2D]:
    count = np.bincount(frame.truth.labels, minlength=len(classes))
    handles = [
        Line2D([], [], color=_colour(classes, label), lw=2, label=f'{name} ({count[label]})')
        for label, name in enumerate(classes)
    ]
    handles.append(Line2D([], [], color='black', lw=1.3, label='ground truth'))
    if frame.predictions is not None:
        handles.append(Line2D([], [], color='black', lw=1.3, ls=DASHED, label='prediction'))
    return handles


def _colour(classes: Sequence[str], label: int) -> Any:
    """Colour of a class; classes that we do not know take colours in turn."""
    return COLOURS.get(classes[label], plt.get_cmap('tab20')(label % 20))


def frames_of_data(args: argparse.Namespace) -> tuple[Iterator[Frame], Sequence[str]]:
    """Frames of a lidarsim data set, with their sweeps.

    Returns:
        tuple: the frames, and the class names.

    Raises:
        FileNotFoundError: there is no complete data set.
        IndexError: the split has fewer frames.
    """
    from lidarsim import verify_dataset

    verify_dataset(args.data)
    if args.split == 'test':
        raise ValueError('a lidarsim data set has the splits train and val, not test')
    with open(args.data / f'nuscenes_infos_{args.split}.pkl', 'rb') as file:
        content = pickle.load(file)
    infos = content['data_list']
    _check_indices(args.index, len(infos))
    frames = (_frame_of_info(args.data, args.split, infos[index]) for index in args.index)
    return frames, tuple(content['metainfo']['categories'])


def _frame_of_info(root: Path, split: str, info: dict) -> Frame:
    keyframe = root / 'samples' / 'LIDAR_TOP' / info['lidar_points']['lidar_path']
    clouds = [np.fromfile(keyframe, np.float32).reshape(-1, 5)[:, :3]]
    for sweep in info.get('lidar_sweeps', []):
        points = np.fromfile(root / sweep['lidar_points']['lidar_path'], np.float32)
        sweep2key = np.linalg.inv(sweep['lidar_points']['lidar2sensor'])
        clouds.append(points.reshape(-1, 5)[:, :3] @ sweep2key[:3, :3].T + sweep2key[:3, 3])
    boxes = np.array([item['bbox_3d'] for item in info['instances']]).reshape(-1, 7)
    labels = np.array([item['bbox_label_3d'] for item in info['instances']], int)
    name = f'{root.name} {split} {info["sample_idx"]}'
    return Frame(name, np.concatenate(clouds), Boxes(boxes, labels))


def frames_of_config(args: argparse.Namespace) -> tuple[Iterator[Frame], Sequence[str]]:
    """Frames as the model of a config gets them, with its predictions if there is a checkpoint.

    Returns:
        tuple: the frames, and the class names.

    Raises:
        FileNotFoundError: the config, the data or the checkpoint is missing.
        ValueError: the config has no data loader for the split.
        IndexError: the split has fewer frames.
    """
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    check_config(args.config)
    if args.checkpoint:
        check_checkpoint(args.checkpoint)
    cfg = Config.fromfile(args.config)
    init_default_scope(cfg.get('default_scope', 'mmdet3d'))
    dataset = _build_dataset(cfg, args.split)
    _check_indices(args.index, len(dataset))
    model = _build_model(cfg, args.checkpoint, args.device) if args.checkpoint else None
    name = f'{Path(args.config).stem} {args.split}'

    def frames() -> Iterator[Frame]:
        for index in args.index:
            yield _frame_of_dataset(dataset, index, f'{name} {index}', model, args.score_thr)

    return frames(), dataset.metainfo['classes']


def _build_dataset(cfg: Config, split: str) -> Any:
    """The split's innermost data set, without augmentation."""
    import mmdet3d.datasets  # noqa: F401 (registers the data sets)
    from mmdet3d.registry import DATASETS

    loader = f'{split}_dataloader'
    if cfg.get(loader) is None or cfg.get('test_dataloader') is None:
        raise ValueError(f'{cfg.filename} has no {loader} or no test_dataloader to draw from')
    check_data(cfg, loaders=(loader,))
    dataset = cfg[loader].dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    pipeline = cfg.test_dataloader.dataset.pipeline
    return DATASETS.build({**dataset, 'pipeline': pipeline, 'test_mode': True})


def _build_model(cfg: Config, checkpoint: str, device: str | None) -> nn.Module:
    """The config's model with the weights of a checkpoint, for prediction."""
    import torch
    from mmdet3d.registry import MODELS
    from mmengine.runner import load_checkpoint

    from mmdistill.utils.checkpoint import allow_mmengine_checkpoints

    allow_mmengine_checkpoints()
    model = MODELS.build(cfg.model)
    load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
    return model.to(device or ('cuda' if torch.cuda.is_available() else 'cpu')).eval()


def _frame_of_dataset(
    dataset: Any, index: int, name: str, model: nn.Module | None, score_thr: float
) -> Frame:
    """One frame through the test pipeline, and through the model."""
    import torch
    from mmengine.dataset import pseudo_collate

    truth = dataset.get_data_info(index)['eval_ann_info']
    boxes = Boxes(truth['gt_bboxes_3d'].tensor.numpy(), np.asarray(truth['gt_labels_3d']))
    boxes.boxes[:, 2] += boxes.boxes[:, 5] / 2
    data = dataset[index]
    predictions = None
    if model is not None:
        with torch.no_grad():
            found = model.test_step(pseudo_collate([data]))[0].pred_instances_3d.cpu()
        found = found[found.scores_3d >= score_thr]
        predictions = Boxes(
            found.bboxes_3d.tensor.numpy(), found.labels_3d.numpy(), found.scores_3d.numpy()
        )
    return Frame(name, data['inputs']['points'].numpy(), boxes, predictions)


def _check_indices(indices: Sequence[int], length: int) -> None:
    wrong = [index for index in indices if not 0 <= index < length]
    if wrong:
        raise IndexError(f'--index {wrong[0]}: the split has frames 0 to {length - 1}')


if __name__ == '__main__':
    main()
