"""Cached and verified downloads."""

from .errors import DownloadError
from .fetching import ADDRESSES, cached_file, fetch, is_address, licence_of, recorded_sha256
from .http import open_remote

__all__ = [
    'ADDRESSES',
    'DownloadError',
    'cached_file',
    'fetch',
    'is_address',
    'licence_of',
    'open_remote',
    'recorded_sha256',
]
