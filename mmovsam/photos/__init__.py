"""Training on photographs: the small OVSAM that this package ships for them."""

from .augmentation import Batch, make_batch
from .data import PhotoData, Photographs, load_photographs
from .evaluation import evaluate_masks
from .interaction import Interaction
from .trainer import PhotoTrainer

__all__ = [
    'Batch',
    'Interaction',
    'PhotoData',
    'PhotoTrainer',
    'Photographs',
    'evaluate_masks',
    'load_photographs',
    'make_batch',
]
