# Fully sharded data parallel: what trains is divided among the processes, unit by unit. Added to
# the bases of a training that torchrun or slurm starts.
runner_type = 'FlexibleRunner'
strategy = dict(
    type='FullStateFSDPStrategy',
    model_wrapper=dict(
        auto_wrap_policy=dict(
            type='torch.distributed.fsdp.wrap.size_based_auto_wrap_policy', min_num_params=10000000
        ),
    ),
)
