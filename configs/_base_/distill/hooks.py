# What a distillation run needs of the runner.
distill_hooks = [
    dict(type='DistillHook'),  # memory sizes, schedules, the teacher's fingerprint
    dict(type='StudentCheckpointHook'),  # epoch_N_student.pth beside epoch_N.pth
    dict(type='RandomStateHook'),  # random streams, for resuming
]
