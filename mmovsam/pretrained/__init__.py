"""Pretrained models by name, fetched and converted at first use."""

from .preparing import checkpoint_file, config_path, fetch_model, read_config
from .registry import MODELS, PretrainedModel, find_pretrained

__all__ = [
    'MODELS',
    'PretrainedModel',
    'checkpoint_file',
    'config_path',
    'fetch_model',
    'find_pretrained',
    'read_config',
]
