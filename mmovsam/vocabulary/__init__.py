"""Class names, prompt templates, and text classifiers built from them."""

from .building import find_classifier, is_classifier_file
from .joining import JoinedVocabulary, join_vocabularies
from .names import OVSAM_TEMPLATES, SIMPLE_TEMPLATES, find_templates, novel_flags, split_name
from .photo_text import load_photo_text
from .text_classifier import TextClassifier, load_classifier, save_classifier
from .text_encoder import clip_model_config, load_text_encoder
from .vocabulary import Vocabulary

__all__ = [
    'JoinedVocabulary',
    'OVSAM_TEMPLATES',
    'SIMPLE_TEMPLATES',
    'TextClassifier',
    'Vocabulary',
    'clip_model_config',
    'find_classifier',
    'find_templates',
    'join_vocabularies',
    'load_classifier',
    'load_photo_text',
    'load_text_encoder',
    'is_classifier_file',
    'novel_flags',
    'save_classifier',
    'split_name',
]
