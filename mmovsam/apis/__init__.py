"""What Python code calls."""

from .configs import find_config, load_config
from .predictor import OVSAMPredictor, Prediction

__all__ = ['OVSAMPredictor', 'Prediction', 'find_config', 'load_config']
