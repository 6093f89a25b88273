"""What Python code calls."""

from .auto_labeling import auto_label
from .everything import segment_everything
from .inferencer import OVSAMInferencer
from .prediction import Prediction
from .predictor import OVSAMPredictor

__all__ = [
    'OVSAMInferencer',
    'OVSAMPredictor',
    'Prediction',
    'auto_label',
    'segment_everything',
]
