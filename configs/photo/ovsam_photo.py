# The photo model with annotated boxes as prompts, and its shipped weights unless others are given.
_base_ = ['../_base_/photo.py', '../_base_/default_runtime.py']
train_dataloader = None
val_cfg = test_cfg = dict()
load_from = 'mmovsam://photo_ovsam.safetensors'
