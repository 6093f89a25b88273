"""Serve a model to Label Studio as a machine learning backend."""

import argparse
import logging
import os
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmovsam.apis.auto_labeling.sources import find_source
from mmovsam.engine.command_line import (
    add_model_arguments,
    add_prompter_options,
    load_predictor,
    prompter_options,
    readable_errors,
)
from mmovsam.label_studio import MAX_BODY, BackendApp, ImageSource, LabelStudioBackend

EPILOG = """environment: LABEL_STUDIO_API_KEY is the access token that images are fetched with;
BASIC_AUTH_USER and BASIC_AUTH_PASS, if set, are asked of Label Studio"""


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG)
    add = parser.add_argument
    add_model_arguments(parser)
    add('--prompter', default='find', help='of whole tasks: find, everything or a detector config')
    add_prompter_options(parser, 'of find: score_thr=0.4 ...; of others see mmovsam label')
    add('--host', default='127.0.0.1', help='address to listen on; 0.0.0.0 for all networks')
    add('--port', type=int, default=9090)
    add(
        '--label-studio',
        metavar='URL',
        default=os.environ.get('LABEL_STUDIO_URL'),
        help='address of Label Studio, for uploaded images (default: LABEL_STUDIO_URL)',
    )
    add('--data-root', type=Path, metavar='FOLDER', help="Label Studio's LOCAL_FILES_DOCUMENT_ROOT")
    add(
        '--allow-host',
        action='append',
        default=[],
        metavar='HOST',
        help='another host of images: name or name:port; may be repeated',
    )
    add('--max-megabytes', type=float, default=50, help='size of the largest file')
    add('--max-megapixels', type=float, default=50, help='size of the largest image')
    return parser.parse_args()


def credentials():
    user, password = (os.environ.get(f'BASIC_AUTH_{key}', '') for key in ('USER', 'PASS'))
    if bool(user) != bool(password):
        raise ValueError('Set both of BASIC_AUTH_USER and BASIC_AUTH_PASS, or neither.')
    return (user, password) if user else None


def serve(args):
    try:
        import waitress
    except ImportError:
        raise ImportError("The server needs: pip install 'mmovsam[label-studio]'") from None
    images = ImageSource(
        args.label_studio,
        os.environ.get('LABEL_STUDIO_API_KEY'),
        args.data_root,
        args.allow_host,
        max_bytes=int(args.max_megabytes * 1e6),
        max_pixels=int(args.max_megapixels * 1e6),
        value_range=args.value_range,
    )
    login = credentials()
    source = find_source(args.prompter, prompter_options(args), [])
    predictor = load_predictor(args)
    backend = LabelStudioBackend(predictor, images, Path(args.config).stem, source=source)
    waitress.serve(
        BackendApp(backend, login),
        host=args.host,
        port=args.port,
        threads=8,
        max_request_body_size=MAX_BODY,
        ident=None,
    )


if __name__ == '__main__':
    args = parse_args()
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(message)s')
    with readable_errors():
        serve(args)
