# Which loss helps, on top of the start? One loss a row, with the weight of its config, between the
# finished teacher and a student of a quarter of its width; a third of bevfusion_mini_xs.py's steps.
# The last rows start or use the best of them in another way.
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/bevfusion_mini_losses.py \
#       --teacher-cache work_dirs/teacher_cache
_base_ = ['bevfusion_mini.py', '../../_base_/distill/hooks.py']
student = 'configs/bevfusion/bevfusion_lidar_student_xs_mini.py'
hooks = [*_base_.distill_hooks, dict(type='Det3DInitHook', channels='first')]
averaged = [*hooks, dict(type='EMAHook', momentum=0.01, update_buffers=True)]
losses = dict(  # by file; the first of a file is on in it, the others off
    channel=['pkd', 'cwd', 'ickd', 'mmd'],
    attention=['attention_transfer', 'attention_transfer_masked', 'nst'],
    feature=['fitnet', 'fitnet_masked', 'cosine'],
    generative=['mgd'],
    relational=['rkd', 'sp', 'object_relation'],
    response=[
        *('heatmap_kd', 'heatmap_kd_masked', 'transfusion_kd', 'transfusion_kd_sure'),
        *('kd', 'logit_standard_kd', 'dkd', 'dist'),
    ],
    contrastive=[
        *('crd', 'crd_cell', 'crd_object', 'crd_object_fixed', 'crd_query', 'object_contrast')
    ],
)


def queries(name, label, options=None, **weights):
    """Queries, and what else is said."""
    name, label = f'transfusion_kd_{name}', f'`transfusion_kd`, {label}'
    weights = {'heatmap_kd': 0, 'transfusion_kd': 1, **weights}
    row = started(name, label, 'losses/response', options, **weights)
    return {**row, 'against': ['short_started', 'short_transfusion_kd']}


def started(name, label, file, options=None, **weights):
    """A config of the mini student, for the XS student started from the teacher's weights."""
    return dict(
        name=f'short_{name}',
        label=label,
        config=f'configs/distill/{file}.py',
        options={
            'model.student.config': student,
            'custom_hooks': hooks,
            **{f'model.links.{link}.weight': weight for link, weight in weights.items()},
            **(options or {}),
        },
        against=['short_started'] if name != 'started' else ['short_alone'],
    )


protocol = dict(
    epochs=1,
    seeds=[0, 1, 2],
    rows=[
        dict(name='short_alone', label='alone', config=student),
        started('started', 'started', 'combinations/init'),
        *[
            started(name, f'`{name}`', f'losses/{file}', **{names[0]: 0, name: 1})
            for file, names in losses.items()
            for name in names
        ],
        started('teacher_labels', '`teacher_labels`', 'losses/teacher_labels'),
        started(
            'important',
            'started from the most important channels',
            'combinations/init',
            {'custom_hooks': [*hooks[:-1], dict(type='Det3DInitHook')]},
        ),
        started('ema', 'averaged weights', 'combinations/init', {'custom_hooks': averaged}),
        queries('ema', 'averaged weights', {'custom_hooks': averaged}),
        queries(
            'faded',
            'faded out in the last third',
            {
                'model.links.transfusion_kd.schedule': dict(
                    kind='linear', begin=400, end=600, start=1.0, stop=0.0, by_epoch=False
                )
            },
        ),
        queries('heatmaps', 'and `heatmap_kd_masked`', heatmap_kd_masked=1),
        # Weights by tools/analysis/link_gradients.py, at a student that is trained without links.
        queries(
            'heatmaps_share',
            "and `heatmap_kd_masked`, each a third of detection's gradient",
            transfusion_kd=1.1,
            heatmap_kd_masked=0.39,
        ),
    ],
)
del started, queries, student, hooks, averaged, losses
