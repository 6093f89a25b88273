"""A picture, and a Label Studio of a few lines that gives it out."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope='session')
def picture():
    """`(H, W, 3)` uint8, RGB."""
    return np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)


@pytest.fixture(scope='session')
def png(picture):
    """The picture's file."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, 'PNG')
    return stream.getvalue()


class _Server(ThreadingHTTPServer):
    """Answers from `pages`, path to `(status, content, headers)`, and writes down what came."""

    def __init__(self):
        super().__init__(('127.0.0.1', 0), _Handler)
        self.pages, self.requests, self.token = {}, [], None
        self.url = f'http://127.0.0.1:{self.server_port}'


class _Handler(BaseHTTPRequestHandler):
    def answer(self, status, content, headers=()):
        self.send_response(status)
        for name, value in {'Content-Length': str(len(content)), **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        key = self.headers.get('Authorization')
        self.server.requests.append((self.path, key))
        if self.server.token not in (None, key):
            return self.answer(401, b'')
        self.answer(*self.server.pages.get(self.path, (404, b'')))

    def do_POST(self):
        """Exchanges the refresh token `a.b.c` for what is then the only valid access token."""
        body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        if self.path != '/api/token/refresh/' or body != {'refresh': 'a.b.c'}:
            return self.answer(401, b'{}')
        access = f'access{len(self.server.requests)}'
        self.server.token = f'Bearer {access}'
        self.answer(200, json.dumps(dict(access=access)).encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def start_server():
    """`start_server()` gives one more server on this machine."""
    servers = []

    def start():
        servers.append(_Server())
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,)).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def label_studio(start_server):
    """A server that plays Label Studio."""
    return start_server()
