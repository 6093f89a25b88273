"""Serve a page on which a click gives a mask and a name."""

import argparse
import signal
import time

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmovsam.apis import loading
from mmovsam.engine.command_line import (
    add_device_arguments,
    add_limit_arguments,
    add_network_arguments,
    add_value_range,
    limits_of,
    load_predictor,
    password_of,
    readable_errors,
)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', nargs='?', default='photo/ovsam_photo.py', help='config file, or the name '
        'of a pretrained model (default: the small one of photographs)')  # fmt: skip
    add('checkpoint', nargs='?', help="weights: a file, an address or the name of a pretrained "
        "model (default: the config's load_from)")  # fmt: skip
    add_device_arguments(parser)
    add_value_range(parser)
    add_network_arguments(parser)
    add('--port', type=int, help='(default: a free one from 7860 on)')
    add_limit_arguments(parser)
    add('--max-sessions', type=int, default=16, help='users whose pictures stay encoded '
        '(%(default)s)')  # fmt: skip
    return parser.parse_args()


def main(args):
    from mmovsam.web.serving import Limits, serving  # says how to get Gradio

    limits = Limits(max_sessions=args.max_sessions, **limits_of(args))
    password = password_of(args)
    shared = load_predictor(args, loading.load)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does
    examples = loading.load_examples()
    with serving(*shared, limits, args.host, args.port, examples, password) as url:
        print(f'The page is at {url} (Ctrl-C ends it)', flush=True)
        while True:
            time.sleep(3600)


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('The page has ended.'):
        main(args)
