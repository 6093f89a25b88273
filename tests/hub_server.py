"""A server on this machine that speaks what the Hugging Face hub and file servers speak."""

import hashlib
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

COMMIT = 'c0ffee' * 6 + 'cafe'


@dataclass
class Log:
    """What a server has sent."""

    requests: list = field(default_factory=list)
    """(method, path, bytes of the body)."""

    def sent(self, part):
        """Bytes of all answers to addresses with this in them."""
        return sum(count for _, path, count in self.requests if part in path)

    def count(self, method, part):
        return sum(part in path and method == used for used, path, _ in self.requests)


class HubServer(ThreadingHTTPServer):
    """`files` by their path; those at `/OWNER/REPOSITORY/resolve/REVISION/FILE` are the hub's.

    Attributes:
        files (dict[str, bytes]): Contents.
        status (dict[str, int]): Paths that are answered with an error.
        ranges (bool): Whether parts of files are served.
        cut (dict[str, int]): Paths whose connection is closed, once, after so many bytes.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), _Handler)
        self.files, self.status, self.cut = {}, {}, {}
        self.ranges = True
        self.commit = COMMIT
        self.log = Log()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f'http://127.0.0.1:{self.server_port}'

    def serve_as_hub(self, monkeypatch, folder):
        """Send huggingface_hub here, with its cache in a folder."""
        from huggingface_hub import constants, file_download

        template = self.url + '/{repo_id}/resolve/{revision}/{filename}'
        for module in (constants, file_download):  # some versions keep names of their own
            monkeypatch.setattr(module, 'ENDPOINT', self.url, raising=False)
            monkeypatch.setattr(module, 'HUGGINGFACE_CO_URL_TEMPLATE', template, raising=False)
            monkeypatch.setattr(module, 'HF_HUB_CACHE', str(folder), raising=False)
        for variable in ('NO_PROXY', 'no_proxy'):
            monkeypatch.setenv(variable, '127.0.0.1,localhost')

    def handle_error(self, request, client_address):
        """A client that goes away is no news."""

    def close(self):
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        server, path = self.server, self.path.split('?')[0]
        hub = re.fullmatch(r'(/[^/]+/[^/]+)/resolve/([^/]+)/(.+)', path)
        key = f'{hub[1]}/{hub[3]}' if hub else path
        content = server.files.get(key)
        status = server.status.get(key, 200 if content is not None else 404)
        if status != 200:
            repository = hub and any(known.startswith(f'{hub[1]}/') for known in server.files)
            error = {'X-Error-Code': 'EntryNotFound' if repository else 'RepoNotFound'}
            self.reply(status, {**error, 'X-Repo-Commit': server.commit} if hub else {}, b'', body)
            return
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        headers = {'ETag': etag, 'Accept-Ranges': 'bytes'}
        if hub and not body:  # large files lie elsewhere
            headers |= {
                'X-Repo-Commit': server.commit,
                'X-Linked-Etag': etag,
                'X-Linked-Size': str(len(content)),
                'Location': f'http://localhost:{server.server_port}{path}',  # another host
            }
            self.reply(302, headers, b'', False, path)
            return
        wanted = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range', ''))
        fresh = self.headers.get('If-Range', etag) == etag
        if wanted and server.ranges and fresh:
            start, end = int(wanted[1]), int(wanted[2] or len(content) - 1) + 1
            if start >= len(content):
                self.reply(416, {'Content-Range': f'bytes */{len(content)}'}, b'', body, path)
                return
            part = content[start:end]
            headers['Content-Range'] = f'bytes {start}-{start + len(part) - 1}/{len(content)}'
            self.reply(206, headers, part, body, path)
        else:
            self.reply(200, headers, content, body, path)

    def reply(self, status, headers, content, body, path=''):
        self.send_response(status)
        for key, value in {**headers, 'Content-Length': str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        cut = self.server.cut.pop(path, None) if body else 0
        part = content[:cut]
        # before it is sent: a client that has it may look at the log
        self.server.log.requests.append((self.command, self.path, len(part)))
        self.wfile.write(part)
        if body and cut is not None:
            self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A hub and file server that everything is fetched from, with an empty cache."""
    monkeypatch.setenv('MMOVSAM_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr('mmovsam.downloads.http._PAUSE', 0)
    server = HubServer()
    server.serve_as_hub(monkeypatch, tmp_path / 'hub')
    yield server
    server.close()
