"""Serve a model over HTTP, with a description of its routes at /openapi.json."""

import argparse

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmovsam.engine.command_line import (
    add_limit_arguments,
    add_model_arguments,
    add_network_arguments,
    readable_errors,
)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add_model_arguments(parser)
    add_network_arguments(parser)
    parser.add_argument('--port', type=int, default=8000)
    add_limit_arguments(parser)
    return parser.parse_args()


def main(args):
    import mmovsam.server  # noqa: F401  raises an error without FastAPI
    from mmovsam.server.serving import serve

    serve(args, [args.port])


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('The server has ended.'):
        main(args)
