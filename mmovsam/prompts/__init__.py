"""What is asked about an image: prompts, how training samples them, where inference takes them."""

from .detector_prompter import DetectorPrompter
from .gt_prompter import GTPrompter
from .prompts import Prompts
from .sampling import sample_training_prompts

__all__ = ['DetectorPrompter', 'GTPrompter', 'Prompts', 'sample_training_prompts']
