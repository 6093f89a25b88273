# The photo model.
_base_ = ['../_base_/models/photo_ovsam.py']
