"""Detections drawn while an evaluation runs, by MMDetection3D's own hook."""

from __future__ import annotations

from mmengine.config import Config

TASKS = ('mono_det', 'multi-view_det', 'lidar_det', 'lidar_seg', 'multi-modality_det')


def draw_detections(
    cfg: Config,
    task: str | None,
    score_thr: float = 0.1,
    show: bool = False,
    out_dir: str | None = None,
    wait_s: float = 2,
) -> None:
    """Switch the config's visualisation hook on, in place.

    Args:
        cfg: Of the evaluation.
        task: What is drawn, one of ``TASKS``.
        score_thr: Lowest score that is drawn.
        show: Show a window.
        out_dir: Folder for pictures, under the work dir.
        wait_s: Seconds between shown frames.

    Raises:
        ValueError: There is no such hook, no such task, or open3d does not load.
    """
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise ValueError(
            '--show and --show-dir need default_hooks.visualization in the config, e.g. '
            "dict(type='Det3DVisualizationHook')."
        )
    if task not in TASKS:
        raise ValueError(
            f'--show and --show-dir need --task, one of {", ".join(TASKS)}; it is {task}.'
        )
    try:
        import open3d  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f'--show and --show-dir draw by open3d, which does not load here ({error}); '
            'tools/visualize.py draws frames from above without it.'
        ) from error
    hook.update(draw=True, vis_task=task, score_thr=score_thr)
    if show:
        hook.update(show=True, wait_time=wait_s)
    if out_dir:
        hook.update(test_out_dir=out_dir)
