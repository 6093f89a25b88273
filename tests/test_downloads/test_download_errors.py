"""What went wrong with a download, in the words of four libraries, becomes a sentence."""

import errno
import ssl
import urllib.error

import pytest

from mmovsam.downloads.errors import explain

ADDRESS = 'hf://own/repo/weights.pth'


class ProxyError(Exception):
    """httpx and requests have one of this name."""


class HfHubHTTPError(Exception):
    def __init__(self, status):
        super().__init__(f'{status} Client Error')
        self.response = type('Response', (), dict(status_code=status))


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (OSError(errno.ENOSPC, 'No space left on device'), 'does not fit on the disk of /cache'),
        (caused(RuntimeError('?'), OSError(errno.EDQUOT, 'quota')), 'does not fit on the disk'),
        (RuntimeError('Error: No space left on device (os error 28)'), 'does not fit on the disk'),
        (ProxyError('407 Proxy Authentication Required'), 'did not let .* through.*HTTPS_PROXY'),
        (OSError('Tunnel connection failed: 403 Forbidden'), 'did not let .* through.*NO_PROXY'),
        (ssl.SSLError('CERTIFICATE_VERIFY_FAILED'), 'not trusted here.*SSL_CERT_FILE'),
        (HfHubHTTPError(404), 'moved or renamed'),
        (HfHubHTTPError(403), 'refuses.*HF_TOKEN'),
        (HfHubHTTPError(429), 'Try again later'),
        (PermissionError(errno.EACCES, 'denied'), '/cache cannot be written'),
        (urllib.error.URLError(TimeoutError('timed out')), 'cannot be reached.*online'),
        (caused(FileNotFoundError('x'), OSError('Name or service not known')), 'cannot be reached'),
        (RuntimeError('something else'), r'could not be fetched \(something else\)'),
    ],
)
def test_error_becomes_a_sentence_with_its_remedy(error, words, monkeypatch):
    monkeypatch.delenv('HF_HUB_OFFLINE', raising=False)
    found = explain(error, ADDRESS, '/cache')
    with pytest.raises(OSError, match=words):
        raise found
    assert ADDRESS in str(found) and '\n' not in str(found)


def test_switch_of_the_hub_is_named_and_the_password_of_a_proxy_is_not_shown(monkeypatch):
    monkeypatch.setenv('https_proxy', 'http://me:secret@proxy:3128')
    text = str(explain(ProxyError('no'), ADDRESS, '/cache'))
    assert 'http://proxy:3128' in text and 'secret' not in text
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    with pytest.raises(OSError, match='HF_HUB_OFFLINE is set. Unset it, or copy the cache'):
        raise explain(FileNotFoundError('not in the cache'), ADDRESS, '/cache')
