# The point deepest inside each annotated mask as prompt.
_base_ = ['./ovsam_photo.py']
model = dict(prompter=dict(mode='center'))
