"""From prompts and image features to masks and names."""

from .clip2sam_head import CLIP2SAMHead
from .open_vocab_classifier import OpenVocabClassifier
from .proposal_head import ProposalHead
from .region_namer import RegionNamer
from .sam_prompt_encoder import SAMPromptEncoder
from .window_decoder import WindowDecoder
from .window_prompts import WindowPrompts

__all__ = [
    'CLIP2SAMHead',
    'OpenVocabClassifier',
    'ProposalHead',
    'RegionNamer',
    'SAMPromptEncoder',
    'WindowPrompts',
    'WindowDecoder',
]
