# The photo model with annotated boxes as prompts, and its shipped weights unless others are given.
_base_ = [
    '../_base_/models/photo_ovsam.py',
    '../_base_/datasets/photo_coco.py',
    '../_base_/schedules/test_only.py',
    '../_base_/default_runtime.py',
]
train_dataloader = None
load_from = 'mmovsam://photo_ovsam.safetensors'
