"""From images as they are loaded to the network's input."""

from .ovsam_data_preprocessor import OVSAMDataPreprocessor

__all__ = ['OVSAMDataPreprocessor']
