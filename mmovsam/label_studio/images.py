"""Images of Label Studio's tasks, from allowed places only."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import SplitResult, parse_qs, quote, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import numpy as np

from ..apis.auto_labeling.label_studio import LOCAL_FILES
from ..apis.image_input import read_sent_image
from ..datasets.files import on_disk

MAX_REQUESTS = 5  # for an image with redirects
CHUNK = 1 << 16
SAFE = "!#$%&'()*+,/:;=?@[]~"  # characters of URLs that are quoted already


class LocalImage(NamedTuple):
    """A file at its time of modification."""

    path: Path
    modified_ns: int


class _NoRedirect(HTTPRedirectHandler):
    """Leaves redirects to `ImageSource`, which checks whether they are allowed."""

    def redirect_request(self, *args, **kwargs):
        return None


class ImageSource:
    """Reads the images of tasks.

    Their addresses are `/data/upload/...` or `/data/local-files/?d=...`, which Label Studio serves
    with its API key, or `http(s)://...` of an allowed host. Nothing else is read or requested.

    Args:
        url: Label Studio's address, such as `http://localhost:8080`; None for no uploads.
        api_key: A personal access token of Label Studio, or a legacy token. It is sent to `url`
            only.
        data_root: Folder whose files `/data/local-files/?d=...` means, to read them here: Label
            Studio's `LOCAL_FILES_DOCUMENT_ROOT`. None to fetch them from Label Studio.
        allowed_hosts: Hosts besides Label Studio's, each `name` or `name:port`.
        max_bytes: Size of the largest file.
        max_pixels: Size of the largest image.
        timeout: Seconds to fetch an image.
        value_range: Black and white of images of more than 8 bits, see `mmovsam.pixels.to_color`.

    Raises:
        ValueError: `url` is no http(s) address.
        FileNotFoundError: `data_root` is no folder.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        data_root: str | Path | None = None,
        allowed_hosts: Iterable[str] = (),
        max_bytes: int = 50_000_000,
        max_pixels: int = 50_000_000,
        timeout: float = 30,
        value_range: Sequence[float] | None = None,
    ) -> None:
        if url is not None and not (_is_web(urlsplit(url)) and urlsplit(url).hostname):
            raise ValueError(f'{url} is no address of Label Studio, such as http://localhost:8080.')
        if data_root is not None and not Path(data_root).is_dir():
            raise FileNotFoundError(f'The folder of local files {data_root} does not exist.')
        self.url = url
        self.api_key = api_key
        self.data_root = None if data_root is None else Path(data_root).resolve()
        self.allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self.max_bytes = max_bytes
        self.max_pixels = max_pixels
        self.timeout = timeout
        self.value_range = value_range
        self._opener = build_opener(_NoRedirect)
        self._access_token: str | None = None

    def locate(self, address: str) -> str | LocalImage:
        """The URL or local file of an address, which can be the key of a cache.

        Raises:
            ValueError: It is no address, or the address of Label Studio is not known.
            FileNotFoundError: The file does not exist below `data_root`.
            PermissionError: It is outside of `data_root`, or on a host that is not allowed.
        """
        if not isinstance(address, str) or not address:
            raise ValueError(f'An image is given by its address, not {address!r:.200}.')
        url = quote(urljoin(self.url or '', address), safe=SAFE)
        parts = urlsplit(url)
        without_host = not parts.scheme and not parts.netloc
        is_local_file = parts.path.rstrip('/').endswith(LOCAL_FILES)
        if self.data_root and is_local_file and (without_host or self._is_label_studio(parts)):
            return self._local_file(parse_qs(parts.query).get('d', [''])[0])
        if without_host:
            raise ValueError(
                f'{address!r:.200} is on Label Studio, whose address is not known here. Start the '
                'backend with --label-studio http://... and LABEL_STUDIO_API_KEY.'
            )
        self._check_allowed(parts)
        return url

    def read(self, location: str | LocalImage) -> np.ndarray:
        """Read an image that `locate` returned, as upright `(H, W, 3)` uint8 RGB.

        Raises:
            ValueError: It is too large, truncated, or no image.
            PermissionError: Label Studio denies access, or redirects to a host that is not allowed.
            FileNotFoundError: It does not exist.
            OSError: It could not be fetched.
        """
        if isinstance(location, LocalImage):
            name = location.path.name
            with location.path.open('rb') as file:
                data = file.read(self.max_bytes + 1)
        else:
            name, data = location, self._fetch(location)
        if len(data) > self.max_bytes:
            raise ValueError(f'{name} has more than {self.max_bytes / 1e6:g} MB, the limit here.')
        return read_sent_image(data, name, self.max_pixels, self.value_range)

    def _local_file(self, name: str) -> LocalImage:
        path = Path(on_disk(str(self.data_root / name))).resolve()
        if not path.is_relative_to(self.data_root):
            raise PermissionError(f'{name!r:.200} is not below the folder of local files.')
        if not path.is_file():
            raise FileNotFoundError(
                f'There is no file {name!r:.200} below the folder of local files. It has to be '
                "Label Studio's LOCAL_FILES_DOCUMENT_ROOT."
            )
        return LocalImage(path, path.stat().st_mtime_ns)

    def _is_label_studio(self, parts: SplitResult) -> bool:
        return self.url is not None and parts[:2] == urlsplit(self.url)[:2]

    def _check_allowed(self, parts: SplitResult) -> None:
        if not _is_web(parts):
            raise ValueError(
                f'{parts.geturl()!r:.200} is no address of an image that is read here: those are '
                '/data/upload/..., /data/local-files/?d=... and http(s)://...'
            )
        if not self._is_label_studio(parts) and parts.netloc.lower() not in self.allowed_hosts:
            raise PermissionError(
                f'Images of {parts.netloc!r:.200} are not fetched. To allow it, start the backend '
                f'with --allow-host {parts.netloc:.200}'
            )

    def _fetch(self, url: str) -> bytes:
        deadline = time.monotonic() + self.timeout
        renewed = False
        for _ in range(MAX_REQUESTS):
            parts = urlsplit(url)
            self._check_allowed(parts)
            headers = {'User-Agent': 'mmovsam'}
            if self.api_key and self._is_label_studio(parts):
                token = self._access_token
                headers['Authorization'] = f'Bearer {token}' if token else f'Token {self.api_key}'
            try:
                return self._download(Request(url, headers=headers), deadline)
            except HTTPError as error:
                if error.code in (401, 403) and self._is_label_studio(parts) and not renewed:
                    renewed = self._renew_access(deadline)
                    if renewed:
                        continue
                if error.code not in (301, 302, 303, 307, 308):
                    raise _refusal(url, error.code) from None
                url = quote(urljoin(url, error.headers.get('Location', '')), safe=SAFE)
            except TimeoutError:
                raise ConnectionError(f'{url} takes longer than {self.timeout:g} s.') from None
            except (OSError, HTTPException) as error:
                raise ConnectionError(f'{url} cannot be fetched: {error}.') from None
        raise ConnectionError(f'{url} is the last of {MAX_REQUESTS} redirects that lead nowhere.')

    def _download(self, request: Request, deadline: float) -> bytes:
        """The body of a response, truncated if it is larger than `max_bytes`."""
        data = bytearray()
        with self._opener.open(request, timeout=max(deadline - time.monotonic(), 0.1)) as response:
            while len(data) <= self.max_bytes and (chunk := response.read1(CHUNK)):
                data += chunk
                if time.monotonic() > deadline:
                    raise TimeoutError
        return bytes(data)

    def _renew_access(self, deadline: float) -> bool:
        """Exchange a personal access token for an access token, and return whether that worked.

        A personal access token is a JSON web token, with two dots, which cannot be used itself.
        """
        if self.api_key is None or self.api_key.count('.') != 2:
            return False
        request = Request(
            urljoin(self.url, '/api/token/refresh/'),
            json.dumps({'refresh': self.api_key}).encode(),
            {'Content-Type': 'application/json'},
        )
        try:
            self._access_token = json.loads(self._download(request, deadline))['access']
        except (OSError, HTTPException, KeyError, TypeError, ValueError):
            return False
        return True


def _is_web(parts: SplitResult) -> bool:
    # a user name can make one address look like another
    return parts.scheme in ('http', 'https') and '@' not in parts.netloc


def _refusal(url: str, code: int) -> OSError:
    if code in (401, 403):
        return PermissionError(
            f'{url} is not given out (status {code}). Set LABEL_STUDIO_API_KEY to a token of an '
            'account that sees the project.'
        )
    if code == 404:
        return FileNotFoundError(f'{url} does not exist (status 404).')
    return ConnectionError(f'{url} cannot be fetched (status {code}).')
