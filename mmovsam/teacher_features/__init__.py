"""A store of the teacher's embeddings by image id."""

from .checking import StoreCheck, check_store, repair_store
from .encoding import DTYPES, EncodedEmbedding, encode, num_bytes
from .identity import input_settings, weights_fingerprint
from .shard import DamagedFeatureError
from .store import Feature, FeatureStore

__all__ = [
    'DTYPES',
    'DamagedFeatureError',
    'EncodedEmbedding',
    'Feature',
    'FeatureStore',
    'StoreCheck',
    'check_store',
    'encode',
    'input_settings',
    'num_bytes',
    'repair_store',
    'weights_fingerprint',
]
