"""Prompts, how training samples them, and where inference gets them from."""

from .detector_prompter import DetectorPrompter
from .file_prompter import FilePrompter
from .grid_prompter import GridPrompter
from .gt_prompter import GTPrompter
from .prompter import Prompter, PromptFilter
from .prompts import Prompts
from .sampling import sample_training_prompts

__all__ = [
    'DetectorPrompter',
    'FilePrompter',
    'GTPrompter',
    'GridPrompter',
    'PromptFilter',
    'Prompter',
    'Prompts',
    'sample_training_prompts',
]
