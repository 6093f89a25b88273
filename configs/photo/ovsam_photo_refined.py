# With a second look at each object, whose training is not finished: docs/photo_model.md.
_base_ = ['./ovsam_photo.py']
model = dict(refiner=dict(type='WindowRefiner', region_channels=96))
