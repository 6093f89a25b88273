"""Reading and writing weights: MMEngine's, safetensors, and other people's."""

from .loading import load_checkpoint_file, save_safetensors, state_dict_of

__all__ = ['load_checkpoint_file', 'save_safetensors', 'state_dict_of']
