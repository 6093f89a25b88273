# OVSAM on LVIS v1: trained without rare classes, tested on all, with annotated boxes as prompts.
_base_ = [
    './_base_/models/ovsam_rn50x16.py',
    './_base_/datasets/ov_lvis.py',
    './_base_/schedules/clip2sam.py',
    './_base_/gpu_runtime.py',
]
model = dict(
    classifier=dict(classifier='lvis'),
    head=dict(roi_extractor=dict(roi_layer=dict(output_size=7))),
)
