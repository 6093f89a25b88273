"""Files from elsewhere: fetched once, whole or not at all, and checked."""

from .errors import DownloadError
from .fetching import ADDRESSES, fetch, is_address, kept, licence_of, recorded_sha256
from .http import open_remote

__all__ = [
    'ADDRESSES',
    'DownloadError',
    'fetch',
    'is_address',
    'kept',
    'licence_of',
    'open_remote',
    'recorded_sha256',
]
