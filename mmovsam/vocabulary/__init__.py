"""Class names, prompt templates, and the text classifier that CLIP makes of them."""

from .names import split_name
from .templates import OVSAM_TEMPLATES, SIMPLE_TEMPLATES
from .text_classifier import TextClassifier, load_classifier, save_classifier
from .text_encoder import load_text_encoder
from .vocabulary import Vocabulary

__all__ = [
    'OVSAM_TEMPLATES',
    'SIMPLE_TEMPLATES',
    'TextClassifier',
    'Vocabulary',
    'load_classifier',
    'load_text_encoder',
    'save_classifier',
    'split_name',
]
