"""What went wrong with a download, in a sentence, and what to do about it."""

from __future__ import annotations

import errno
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
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
    """The error of a failed download for a user.

    Args:
        error: Of urllib, huggingface_hub, open_clip or the file system; what caused it counts too.
        address: What was to be fetched.
        folder: Where it was to be kept.
    """
    chain = list(_chain(error))
    numbers = {getattr(each, 'errno', None) for each in chain}
    names = ' '.join(type(each).__name__ for each in chain)
    text = ' '.join(' '.join(str(each) for each in chain).split())
    plain = address.startswith(('http://', 'https://'))
    host = urlsplit(address).netloc if plain else 'huggingface.co'

    if numbers & {errno.ENOSPC, errno.EDQUOT} or 'No space left' in text:
        return DownloadError(
            f'{address} does not fit on the disk of {folder}. Free some space, or name a folder on '
            f'another disk with {CACHE_VARIABLE} and HF_HOME; what was fetched is kept.'
        )
    if 'OfflineModeIsEnabled' in names or (_switched_off() and not plain):
        return DownloadError(
            f'{address} is not in the cache and HF_HUB_OFFLINE is set. Unset it, or copy the cache '
            f'({folder}) from a machine that is online.'
        )
    status = _status(chain)
    proxy = urllib.request.getproxies().get(urlsplit(address).scheme if plain else 'https')
    if status == 407 or 'ProxyError' in names or 'Tunnel connection failed' in text:
        return DownloadError(
            f'The proxy {_without_password(proxy) or "in between"} did not let {address} through '
            f'({status or _short(text)}). Correct HTTPS_PROXY '
            f'(http://user:password@host:port), or put {host} into NO_PROXY. {_BY_HAND}'
        )
    if 'CERTIFICATE_VERIFY_FAILED' in text or 'SSLCertVerification' in names:
        return DownloadError(
            f'{address} is not fetched: the certificate of {host} is not trusted here, as behind a '
            f'proxy that reads along. Name its certificates with SSL_CERT_FILE. {_BY_HAND}'
        )
    if status == 404 or (status in (401, 403) and 'RepositoryNotFound' in names):
        return DownloadError(
            f'{address} is not there: it was moved or renamed. Look for it on its page, and give '
            'the new address, or the file, to tools/convert_checkpoint.py (docs/model_zoo.md).'
        )
    if status in (401, 403):
        return DownloadError(
            f'{host} refuses {address} (HTTP {status}). If it asks for consent, give it on the '
            f'page of the file and set HF_TOKEN. {_BY_HAND}'
        )
    if status == 429 or (status or 0) >= 500:
        return DownloadError(
            f'{host} cannot serve {address} now (HTTP {status}). Try again later: the download '
            'goes on where it was.'
        )
    if isinstance(error, PermissionError) or numbers & {errno.EROFS, errno.EACCES}:
        return DownloadError(
            f'{folder} cannot be written, so {address} cannot be kept. Name another folder with '
            f'{CACHE_VARIABLE} (and HF_HOME).'
        )
    if errno.EIO in numbers:
        return DownloadError(
            f'The disk of {folder} fails ({_short(text)}), so {address} cannot be kept. See to it, '
            f'or name a folder on another disk with {CACHE_VARIABLE} (and HF_HOME).'
        )
    offline = any(part in text for part in _UNREACHABLE) or 'Connect' in names or 'Time' in names
    if offline:
        through = f' through the proxy {_without_password(proxy)}' if proxy else ''
        return DownloadError(
            f'{host} cannot be reached{through} to fetch {address} ({_short(str(chain[-1]))}). Is '
            'this machine online? Behind a proxy set HTTPS_PROXY; if the connection was lost, the '
            f'same command goes on where it was. {_BY_HAND}'
        )
    return DownloadError(f'{address} could not be fetched ({_short(text)}). {_BY_HAND}')


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it, down to the first cause."""
    seen = set()
    while isinstance(error, BaseException) and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, 'reason', None)  # of urllib
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


def _status(chain: list[BaseException]) -> int | None:
    for error in chain:
        for status in (
            getattr(getattr(error, 'response', None), 'status_code', None),
            getattr(error, 'code', None),
        ):
            if isinstance(status, int):
                return status
    return None


def _switched_off() -> bool:
    return os.environ.get('HF_HUB_OFFLINE', '').upper() in ('1', 'ON', 'YES', 'TRUE')


def _without_password(proxy: str | None) -> str | None:
    if not proxy or '@' not in proxy:
        return proxy
    scheme, _, rest = proxy.rpartition('://')
    return f'{scheme}://{rest.rpartition("@")[2]}' if scheme else rest.rpartition('@')[2]


def _short(text: str) -> str:
    text = ' '.join(text.split())
    return text if len(text) <= 160 else f'{text[:157]}...'
