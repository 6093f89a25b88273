"""Heads."""

from .clip2sam_head import CLIP2SAMHead
from .open_vocab_classifier import OpenVocabClassifier
from .sam_prompt_encoder import SAMPromptEncoder

__all__ = ['CLIP2SAMHead', 'OpenVocabClassifier', 'SAMPromptEncoder']
