# Stage one with the adapter sharded over all processes, and its activations computed twice.
_base_ = ['./sam2clip_rn50x16.py', './_base_/fsdp.py']
model = dict(neck=dict(with_cp=True))
