"""Serve a page for prompts in the browser, beside the routes of tools/serve.py."""

import argparse

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmovsam.apis.loading import load_examples
from mmovsam.engine.command_line import (
    add_device_arguments,
    add_limit_arguments,
    add_network_arguments,
    add_value_range,
    readable_errors,
)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', nargs='?', default='photo/ovsam_photo.py', help='file, or the name of a model')
    add('checkpoint', nargs='?', help='file, address or name of a model')
    add_device_arguments(parser)
    add_value_range(parser)
    add_network_arguments(parser)
    add('--port', type=int, help='(default: a free one from 7860 on)')
    add_limit_arguments(parser)
    return parser.parse_args()


def main(args):
    from mmovsam.server import add_page  # raises an error without FastAPI
    from mmovsam.server.serving import serve

    ports = range(7860, 7960) if args.port is None else [args.port]
    serve(args, ports, lambda app, served: add_page(app, served, load_examples()))


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('The page has ended.'):
        main(args)
