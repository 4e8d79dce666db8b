# Which loss helps, on top of the start? One loss a row, with the weight of its config, between the
# finished teacher and a student of a quarter of its width; a third of bevfusion_mini_xs.py's steps.
#   python tools/benchmarks/run_protocol.py configs/distill/protocols/bevfusion_mini_losses.py \
#       --teacher-cache work_dirs/teacher_cache
_base_ = ['bevfusion_mini.py', '../../_base_/distill/hooks.py']
student = 'configs/bevfusion/bevfusion_lidar_student_xs_mini.py'
hooks = [*_base_.distill_hooks, dict(type='Det3DInitHook', channels='first')]
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


def started(name, label, file, **weights):
    """A config of the mini student, for the XS student started from the teacher's weights."""
    return dict(
        name=f'short_{name}',
        label=label,
        config=f'configs/distill/{file}.py',
        options={
            'model.student.config': student,
            'custom_hooks': hooks,
            **{f'model.links.{link}.weight': weight for link, weight in weights.items()},
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
    ],
)
del started, student, hooks, losses
