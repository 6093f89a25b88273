# Annotated boxes as prompts, with the shipped weights unless others are given.
_base_ = ['./ovsam_mini.py']
load_from = 'mmovsam://ovsam_mini.safetensors'
