"""Export a model to ONNX, with its settings and names, and check the files against PyTorch."""

import argparse
import time
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmovsam.apis import OVSAMPredictor
from mmovsam.engine.command_line import readable_errors
from mmovsam.export import VocabularyArrays, export_onnx
from mmovsam.fileio import find_config
from mmovsam.models.detectors import OVSAM
from mmovsam.vocabulary import TextClassifier, load_classifier


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', nargs='?', help='of an OVSAM; without, the vocabulary alone is written')
    add('checkpoint', nargs='?', help="weights; without, the config's own")
    add('--out', required=True, metavar='FOLDER', help='for a vocabulary alone a .npz file')
    add(
        '--vocabulary',
        metavar='FILE',
        help="names of tools/build_vocabulary.py; without, the config's own",
    )
    add('--int8', action='store_true', help='write weights of eight bits as well')
    add(
        '--random-weights',
        action='store_true',
        help='export an untrained model with 80 unnamed classes, to measure its speed and size',
    )
    args = parser.parse_args()
    if not (args.config or args.vocabulary):
        parser.error('give a config, or --vocabulary')
    return args


def export_vocabulary(args):
    arrays = VocabularyArrays.from_classifier(load_classifier(args.vocabulary))
    arrays.save(args.out)
    print(f'Done. {len(arrays.names)} classes are in {Path(args.out).resolve()}')


def load_model(args):
    """The model and its text classifier, or None for one that segments only."""
    if args.random_weights:
        model = random_ovsam(args.config)
    else:
        model = OVSAMPredictor.from_config(args.config, args.checkpoint).model
    if not model.recognizes:
        return model, None
    file = args.vocabulary or (None if args.random_weights else model.classifier.file)
    if file is not None:
        return model, load_classifier(file)
    if not args.random_weights:
        raise ValueError(f'{args.config} has no vocabulary: give --vocabulary.')
    return model, TextClassifier(torch.randn(80, 1, model.head.embed_dim))


def random_ovsam(config):
    """The model of a config without its weights."""
    cfg = Config.fromfile(find_config(config))
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    model = MODELS.build({**cfg.model, 'prompter': None})
    if not isinstance(model, OVSAM):
        raise TypeError(f'{config} is of a {type(model).__name__}; an OVSAM can be exported.')
    return model


def export(args):
    start = time.monotonic()
    model, classifier = load_model(args)
    comparison = export_onnx(model, args.out, classifier, args.int8)
    print(comparison)
    for path in sorted(Path(args.out).glob('[!.]*')):
        print(f'{path.stat().st_size / 1e6:10.2f} MB  {path}')
    print(
        f'Done in {time.monotonic() - start:.0f} s. The largest difference from PyTorch is '
        f'{comparison.largest:.1e}.'
    )


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('Nothing is written.'):
        (export if args.config else export_vocabulary)(args)
