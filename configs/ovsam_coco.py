# OVSAM on COCO: trained on 48 base classes, tested on them and 17 novel ones, with annotated boxes.
_base_ = [
    './_base_/models/ovsam_rn50x16.py',
    './_base_/datasets/ov_coco.py',
    './_base_/schedules/clip2sam.py',
    './_base_/gpu_runtime.py',
]
model = dict(classifier=dict(classifier='OVCocoDataset'))
