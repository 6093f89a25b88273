"""Load test of `mmovsam serve` with many users: latencies, correctness and memory."""

import argparse
import asyncio
import io
import json
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import httpx
import numpy as np
from PIL import Image
from mini_world import CATEGORIES, draw_scene

from mmovsam.engine.command_line import readable_errors

ROOT = Path(__file__).resolve().parents[1]
ROUTES = {'/prompt': 75, '/find': 6, '/everything': 3, '/image': 8, '/vocabulary': 4, 'visit': 4}
"""Share of each request in percent; a visit opens a session with an image and does not close it."""


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--config', default='mini/ovsam_mini_boxes.py')
    add('--users', type=int, default=20)
    add('--seconds', type=float, default=60)
    add('--think', type=float, default=1.0, help='mean seconds between requests of a user')
    add('--max-memory', type=float, default=64, help='of the sessions, in MB')
    add('--seed', type=int, default=0, help='of images and requests')
    return parser.parse_args()


class Server:
    """A context with the server on a free port."""

    def __init__(self, args):
        command = [sys.executable, str(ROOT / 'tools' / 'serve.py'), '--port', '0']
        command += ['--config', args.config, '--device', 'cpu', '--max-memory', args.max_memory]
        self.process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True)
        self.url = None

    def __enter__(self):
        for line in self.process.stdout:
            if line.startswith('Serving at '):
                self.url = line.split()[2]
                return self
        raise ValueError(f'The server has not started (status {self.process.wait()}).')

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def resident(self):
        """Its memory in MB."""
        pages = int(Path(f'/proc/{self.process.pid}/statm').read_text().split()[1])
        return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


class User:
    """A user with an image and names."""

    def __init__(self, client, seed, number):
        self.client = client
        self.random = random.Random(f'{seed}/{number}')
        scene = draw_scene(np.random.default_rng([seed, number]), 'test')
        stream = io.BytesIO()
        Image.fromarray(scene.image).save(stream, 'PNG')
        height, width = scene.image.shape[:2]
        categories = [category.name for category in CATEGORIES]
        names = self.random.sample(categories, min(5, len(categories)))
        point = [self.random.uniform(0, width), self.random.uniform(0, height)]
        self.requests = {
            '/image': dict(method='PUT', content=stream.getvalue()),
            '/vocabulary': dict(method='PUT', json=dict(names=names)),
            '/prompt': dict(
                json=dict(
                    prompts=[dict(box=box) for box in scene.bboxes[:2]]
                    + [dict(point_coords=[point], point_labels=[1])]
                )
            ),
            '/find': dict(json=dict(names=names[:2], points_per_side=8)),
            '/everything': dict(json=dict(points_per_side=6)),
        }
        self.expected = {}

    async def request(self, path, headers=None, method='POST', **kwargs):
        response = await self.client.request(
            method, path, headers=headers or self.headers, **kwargs
        )
        response.raise_for_status()
        return response.json()

    async def open(self):
        """Open a session; returns its headers."""
        response = await self.client.post('/sessions')
        return dict(Authorization=f'Bearer {response.raise_for_status().json()["token"]}')

    async def start(self):
        """Store the responses to all requests without other users."""
        self.headers = await self.open()
        for path, request in self.requests.items():
            self.expected[path] = await self.request(path, **request)

    async def work(self, until, think, times, faults):
        """Send random requests until a time; record latencies and unexpected responses."""
        while time.monotonic() < until:
            await asyncio.sleep(self.random.expovariate(1 / think) if think else 0)
            path = self.random.choices(list(ROUTES), list(ROUTES.values()))[0]
            start = time.monotonic()
            try:
                if path == 'visit':
                    await self.request('/image', await self.open(), **self.requests['/image'])
                elif await self.request(path, **self.requests[path]) != self.expected[path]:
                    faults.append(f'{path}: another response than without other users')
            except httpx.HTTPError as error:
                faults.append(f'{path}: {error!r}')
            times[path].append(time.monotonic() - start)


async def load(server, args):
    """Run all users; returns latencies in seconds by route, faults, and memory over time in MB."""
    times, faults, memory = defaultdict(list), [], []
    limits = httpx.Limits(max_connections=args.users)
    async with httpx.AsyncClient(base_url=server.url, timeout=300, limits=limits) as client:
        users = [User(client, args.seed, number) for number in range(args.users)]
        for user in users:
            await user.start()
        responses = {json.dumps(user.expected['/prompt'], sort_keys=True) for user in users}
        if len(responses) < len(users):
            raise ValueError('Two users have equal responses, which would hide mix-ups.')
        until = time.monotonic() + args.seconds

        async def watch():
            while True:
                memory.append(server.resident())
                await asyncio.sleep(max(args.seconds / 100, 0.1))

        watcher = asyncio.create_task(watch())
        await asyncio.gather(*(user.work(until, args.think, times, faults) for user in users))
        watcher.cancel()
        memory.append(server.resident())
    return times, faults, memory


def main(args):
    with Server(args) as server:
        times, faults, memory = asyncio.run(load(server, args))
    count = sum(map(len, times.values()))
    print(f'{args.users} users, {args.seconds:g} s, seed {args.seed}: {count} requests')
    print(f'{"route":<14}{"requests":>9}{"median":>10}{"95th":>10}')
    for path in ROUTES:
        if times[path]:
            median, high = np.percentile(times[path], [50, 95]) * 1000
            print(f'{path:<14}{len(times[path]):>9}{median:>7.0f} ms{high:>7.0f} ms')
    tenth = memory[len(memory) // 10]
    print(
        f'memory of the server: {memory[0]:.0f} MB at the start, {tenth:.0f} after a tenth of the '
        f'time, {max(memory):.0f} at most, {memory[-1]:.0f} at the end'
    )
    print(f'answers unlike those alone, or none: {len(faults)}')
    for fault in faults[:10]:
        print(f'  {fault}')
    raise SystemExit(bool(faults))


if __name__ == '__main__':
    args = parse_args()
    with readable_errors():
        main(args)
