# The paper's baseline on COCO: SAM cuts out, CLIP names a crop of the image for each mask.
# CLIP's features of the whole image instead: --cfg-options model.region=feature
_base_ = [
    './_base_/models/sam_clip_rn50x16.py',
    './_base_/datasets/ov_coco.py',
    './_base_/default_runtime.py',
]
model = dict(classifier=dict(classifier='OVCocoDataset'))
train_dataloader = None
val_cfg = test_cfg = dict()
