"""What Python code calls."""

from .predictor import OVSAMPredictor, Prediction

__all__ = ['OVSAMPredictor', 'Prediction']
