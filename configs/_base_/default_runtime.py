default_scope = 'mmdet'
custom_imports = dict(imports=['mmovsam'])

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='SingleLoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='PictureHook'),
    val_picture=dict(type='ValPictureHook'),
    non_finite=dict(type='NonFiniteLossHook', action='stop'),  # or 'skip'
    report=dict(type='TrainingReportHook'),
    # not in custom_hooks: a config that sets those would drop them
    checkpoint_check=dict(type='CheckpointCheckHook'),
    image_check=dict(type='ImageCheckHook'),
    class_check=dict(type='ClassCheckHook'),
    class_frequency=dict(type='ClassFrequencyHook'),
    heartbeat=dict(type='HeartbeatHook'),
)

randomness = dict(seed=0)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # without a GPU the tools choose gloo; processes wait half an hour for one that validates
    dist_cfg=dict(backend='nccl', timeout=1800),
)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(
    type='LogProcessor',
    window_size=50,
    by_epoch=True,
    # what is shown as the mean of the window; the last are parts of the loss by source
    mean_pattern=r'.*(loss|time|grad_norm|acc|/(mask|dice|cls)$).*',
)
log_level = 'INFO'
load_from = None
resume = False
