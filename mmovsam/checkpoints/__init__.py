"""Reading, writing and converting checkpoints."""

from .fit import check_fit, load_initial_weights, names_all_weights
from .loading import load_checkpoint_file, safe_loading, save_safetensors, state_dict_of

__all__ = [
    'check_fit',
    'load_checkpoint_file',
    'load_initial_weights',
    'names_all_weights',
    'safe_loading',
    'save_safetensors',
    'state_dict_of',
]
