"""Data preprocessors."""

from .ovsam_data_preprocessor import OVSAMDataPreprocessor

__all__ = ['OVSAMDataPreprocessor']
