"""Download a pretrained model, for use without a network; or list the models."""

import argparse

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmovsam.downloads import recorded_sha256
from mmovsam.engine.command_line import readable_errors
from mmovsam.pretrained import MODELS, fetch_model, find_pretrained, read_config
from mmovsam.vocabulary import find_classifier, is_classifier_file


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('name', nargs='?', help='of a model; by default list all models')
    parser.add_argument(
        '--no-vocabulary', action='store_true', help='do not encode its names, which takes minutes'
    )
    return parser.parse_args()


def list_models():
    for model in MODELS.values():
        print(
            f'{model.name}\n    {model.description}\n'
            f'    config {model.config}, licence {model.licence}'
        )
        for address in model.sources.values():
            digest = recorded_sha256(address)
            print(f'    {address}{f" (here, SHA-256 {digest})" if digest else ""}')


def download(args):
    model = find_pretrained(args.name)
    file = fetch_model(args.name)
    for address in model.sources.values():
        print(f'{address}\n    SHA-256 {recorded_sha256(address)}')
    classifier = read_config(args.name, weights=False).model.get('classifier') or {}
    source = classifier.get('classifier')
    if source and not is_classifier_file(source) and not args.no_vocabulary:
        names = find_classifier(source, classifier.get('text_encoder'))
        print(f'{len(names)} names are in the cache')
    print(f'Done. {args.name}: {file}')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('The same command goes on where it was.'):
        download(args) if args.name else list_models()
