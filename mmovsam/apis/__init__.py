"""The Python API: predictor, inferencer, everything-mode, tracking, labeling."""

from ..models.prepare import prepare_for_inference
from .auto_labeling import auto_label
from .everything import segment_everything
from .inferencer import OVSAMInferencer
from .loading import EXAMPLE_PHOTOS, ExamplePhoto
from .prediction import Prediction
from .predictor import OVSAMPredictor
from .tidying import label_map, non_overlapping, semantic_map
from .track import track
from .tracker import Tracker

__all__ = [
    'EXAMPLE_PHOTOS',
    'ExamplePhoto',
    'OVSAMInferencer',
    'OVSAMPredictor',
    'Prediction',
    'Tracker',
    'auto_label',
    'label_map',
    'non_overlapping',
    'prepare_for_inference',
    'segment_everything',
    'semantic_map',
    'track',
]
