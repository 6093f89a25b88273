# The boxes of a small Mask R-CNN that knows the names of the base classes.
_base_ = ['./ovsam_mini_faster_rcnn.py']
model = dict(
    prompter=dict(
        detector='mmovsam::mini/mask_rcnn_mini.py',
        checkpoint='mmovsam://mask_rcnn_mini.safetensors',
    )
)
