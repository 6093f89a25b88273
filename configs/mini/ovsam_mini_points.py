# The point deepest inside each annotated mask as prompt, with the shipped weights by default.
_base_ = ['./ovsam_mini_boxes.py']
model = dict(prompter=dict(mode='center'))
