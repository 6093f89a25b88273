# The point deepest inside each annotated mask as prompt, with the shipped weights unless others are given.
_base_ = ['./ovsam_mini_boxes.py']
model = dict(prompter=dict(mode='center'))
