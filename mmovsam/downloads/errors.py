"""Errors of downloads, with their remedies."""

from __future__ import annotations

import errno
import os
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from textwrap import shorten
from urllib.parse import urlsplit

from ..fileio import CACHE_VARIABLE

_BY_HAND = (
    'Or fetch it by other means and give the file to tools/convert_checkpoint.py '
    '(docs/model_zoo.md).'
)
_UNREACHABLE = (
    'timed out',
    'name resolution',
    'Name or service not known',
    'nodename nor servname',
    'Connection refused',
    'Network is unreachable',
    'No route to host',
    'closed the connection',
    'Connection reset',
)


class DownloadError(OSError):
    """A file could not be fetched; the message says why and what to do."""


def explain(error: BaseException, address: str, folder: Path | str) -> DownloadError:
    """A `DownloadError` with a remedy for an error of a download to `folder`.

    The error and its causes may be of urllib, huggingface_hub, open_clip or the file system.
    """
    chain = list(_causes(error))
    numbers = {getattr(cause, 'errno', None) for cause in chain}
    names = ' '.join(type(cause).__name__ for cause in chain)
    text = ' '.join(map(str, chain))
    short = shorten(text, 160)
    is_url = address.startswith(('http://', 'https://'))
    host = urlsplit(address).netloc if is_url else 'huggingface.co'
    status = _status(chain) or 0
    offline = os.environ.get('HF_HUB_OFFLINE', '').upper() in ('1', 'ON', 'YES', 'TRUE')
    proxy = urllib.request.getproxies().get(urlsplit(address).scheme if is_url else 'https')
    proxy = re.sub(r'//.*@', '//', proxy or '')  # without a password
    cases = (
        (
            numbers & {errno.ENOSPC, errno.EDQUOT} or 'No space left' in text,
            f'{address} does not fit on the disk of {folder}. Free some space, or name a folder on '
            f'another disk with {CACHE_VARIABLE} and HF_HOME; what was fetched is kept.',
        ),
        (
            'OfflineModeIsEnabled' in names or (offline and not is_url),
            f'{address} is not in the cache and HF_HUB_OFFLINE is set. Unset it, or copy the cache '
            f'({folder}) from a machine that is online.',
        ),
        (
            status == 407 or 'ProxyError' in names or 'Tunnel connection failed' in text,
            f'The proxy {proxy or "in between"} did not let {address} through '
            f'({status or short}). Correct HTTPS_PROXY (http://user:password@host:port), or put '
            f'{host} into NO_PROXY. {_BY_HAND}',
        ),
        (
            'CERTIFICATE_VERIFY_FAILED' in text or 'SSLCertVerification' in names,
            f'{address} is not fetched: the certificate of {host} is not trusted here, as behind a '
            f'proxy that reads along. Name its certificates with SSL_CERT_FILE. {_BY_HAND}',
        ),
        (
            status == 404 or (status in (401, 403) and 'RepositoryNotFound' in names),
            f'{address} is not there: it was moved or renamed. Look for it on its page, and give '
            'the new address, or the file, to tools/convert_checkpoint.py (docs/model_zoo.md).',
        ),
        (
            status in (401, 403),
            f'{host} refuses {address} (HTTP {status}). If it asks for consent, give it on the '
            f'page of the file and set HF_TOKEN. {_BY_HAND}',
        ),
        (
            status == 429 or status >= 500,
            f'{host} cannot serve {address} now (HTTP {status}). Try again later: the download '
            'goes on where it was.',
        ),
        (
            isinstance(error, PermissionError) or numbers & {errno.EROFS, errno.EACCES, errno.EIO},
            f'{folder} cannot be written ({short}), so {address} cannot be kept. Name '
            f'another folder with {CACHE_VARIABLE} (and HF_HOME).',
        ),
        (
            any(reason in text for reason in _UNREACHABLE) or 'Connect' in names or 'Time' in names,
            f'{host} cannot be reached{f" through the proxy {proxy}" if proxy else ""} to fetch '
            f'{address} ({shorten(str(chain[-1]), 160)}). Is this machine online? Behind a proxy '
            'set HTTPS_PROXY; if the connection was lost, the same command goes on where it was. '
            f'{_BY_HAND}',
        ),
        (True, f'{address} could not be fetched ({short}). {_BY_HAND}'),
    )
    return DownloadError(next(message for applies, message in cases if applies))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes, the first cause last."""
    while isinstance(error, BaseException):
        yield error
        reason = getattr(error, 'reason', None)  # of urllib
        is_error = isinstance(reason, BaseException)
        error = reason if is_error else error.__cause__ or error.__context__


def _status(chain: list[BaseException]) -> int | None:
    """The HTTP status of the first error that has one."""
    for error in chain:
        status = getattr(getattr(error, 'response', None), 'status_code', None)
        status = status or getattr(error, 'code', None)
        if isinstance(status, int):
            return status
    return None
