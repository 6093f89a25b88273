# Of full-size models, whose images have one size: a GPU chooses its kernels by trial, and tests run
# the encoder in half precision. On a CPU nothing changes.
_base_ = ['./default_runtime.py']
default_hooks = dict(prepare=dict(type='PrepareForInferenceHook', dtype='auto'))
env_cfg = dict(cudnn_benchmark=True)
