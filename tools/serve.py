"""Serve a model over HTTP: set an image, prompt it, find by name; described at /openapi.json."""

import argparse
import socket
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmovsam.apis.loading import load
from mmovsam.engine.command_line import (
    add_limit_arguments,
    add_model_arguments,
    add_network_arguments,
    limits_of,
    load_predictor,
    password_of,
    readable_errors,
)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add_model_arguments(parser)
    add_network_arguments(parser)
    add('--port', type=int, default=8000)
    add_limit_arguments(parser)
    add('--max-memory', type=float, default=1024, help='for the encoded images and names of all '
        'sessions, in MB (%(default)s)')  # fmt: skip
    return parser.parse_args()


def main(args):
    from mmovsam.server import Limits, Served, make_app  # says how to get FastAPI
    import uvicorn

    limits = Limits(max_memory=round(args.max_memory * 2**20), **limits_of(args))
    password = password_of(args)
    try:  # before a model is loaded
        listening = socket.create_server((args.host, args.port))
    except OSError as error:
        raise OSError(
            f'Cannot listen on {args.host}, port {args.port}: {error.strerror}. Choose another '
            'address or port.'
        ) from error
    with listening:
        predictor, name_encoder = load_predictor(args, load, cache_size=0)
        served = Served(predictor, name_encoder, limits, Path(args.config).stem, password)
        config = uvicorn.Config(make_app(served), log_level='warning', server_header=False)
        host, port = listening.getsockname()[:2]
        print(f'Serving at http://{host}:{port} (Ctrl-C ends it)', flush=True)
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('The server has ended.'):
        main(args)
