# The paper's first baseline: SAM cuts out, CLIP names a crop of the image for each mask.
_base_ = [
    '../_base_/models/mini_sam_clip.py',
    '../_base_/datasets/mini_world.py',
    '../_base_/schedules/test_only.py',
    '../_base_/default_runtime.py',
]
train_dataloader = None
