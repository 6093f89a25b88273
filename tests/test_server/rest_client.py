"""A client of the server, and pictures for it."""

import io

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 60, 80
MAX_FILE_SIZE = 40_000


def png(seed=0, shape=(HEIGHT, WIDTH, 3)):
    """The file of a random picture."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(stream, 'PNG')
    return stream.getvalue()


class User:
    """One client's session: `user.post('/prompt', prompts=[...])` gives status and answer."""

    def __init__(self, client, **opening):
        self.client = client
        answer = client.post('/sessions', json=opening)
        assert answer.status_code == 201, answer.text
        self.headers = dict(Authorization=f'Bearer {answer.json()["token"]}')

    def send(self, method, path, **how):
        answer = self.client.request(method, path, headers=self.headers, **how)
        return answer.status_code, answer.json() if answer.content else None

    def image(self, data):
        return self.send('PUT', '/image', content=data)

    def post(self, path, **request):
        return self.send('POST', path, json=request)
