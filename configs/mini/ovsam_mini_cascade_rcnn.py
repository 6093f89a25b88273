# The boxes of a small Cascade R-CNN that knows the names of the base classes.
_base_ = ['./ovsam_mini_faster_rcnn.py']
model = dict(
    prompter=dict(
        detector='mmovsam::mini/cascade_rcnn_mini.py',
        checkpoint='mmovsam://cascade_rcnn_mini.safetensors',
    )
)
