# Stage 1 with the adapter sharded over all processes: the small world's twin of the full size.
_base_ = ['./sam2clip_mini.py', '../_base_/fsdp.py']
model = dict(neck=dict(with_cp=True))
strategy = dict(model_wrapper=dict(auto_wrap_policy=dict(min_num_params=100000)))
