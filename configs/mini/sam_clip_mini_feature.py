# The paper's second baseline: SAM cuts out, CLIP names by its features of the whole image.
_base_ = ['./sam_clip_mini_image.py']
model = dict(region='feature')
