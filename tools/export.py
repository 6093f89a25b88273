"""Export a model to ONNX, with its settings and vocabulary, and compare it with PyTorch."""

import argparse
import time
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from mmovsam.apis import OVSAMPredictor
from mmovsam.devices import describe_device
from mmovsam.engine.command_line import readable_errors
from mmovsam.export import VocabularyArrays, export_onnx
from mmovsam.models.detectors import OVSAM
from mmovsam.pretrained import read_config
from mmovsam.vocabulary import TextClassifier, load_classifier


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', nargs='?', help='config or name of a model; without, only write the vocabulary')
    add('checkpoint', nargs='?', help='weights: a file, an address or the name of a model')
    add('--out', required=True, metavar='FOLDER', help='.npz file for a vocabulary alone')
    add('--vocabulary', metavar='FILE', help='of tools/build_vocabulary.py')
    add('--int8', action='store_true', help='write int8 weights, too')
    add('--random-weights', action='store_true', help='export an untrained model with 80 classes')
    args = parser.parse_args()
    if not (args.config or args.vocabulary):
        parser.error('give a config, or --vocabulary')
    return args


def export_vocabulary(args):
    arrays = VocabularyArrays.from_classifier(load_classifier(args.vocabulary))
    arrays.save(args.out)
    print(f'Done. {len(arrays.names)} classes are in {Path(args.out).resolve()}')


def load_model(args):
    """The model and its text classifier, which is None for a model without names."""
    if args.random_weights:
        model = random_ovsam(args.config)
    else:
        model = OVSAMPredictor.from_config(args.config, args.checkpoint, 'cpu').model
    if not model.recognizes:
        return model, None
    if args.vocabulary:
        return model, load_classifier(args.vocabulary)
    if args.random_weights:
        return model, TextClassifier(torch.randn(80, 1, model.head.embed_dim))
    if model.classifier.file is None:
        raise ValueError(f'{args.config} has no vocabulary: give --vocabulary.')
    return model, model.classifier.read()


def random_ovsam(config):
    """The model of a config with random weights."""
    cfg = read_config(config, weights=False)
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    model = MODELS.build({**cfg.model, 'prompter': None})
    if not isinstance(model, OVSAM):
        raise TypeError(f'{config} is of a {type(model).__name__}; an OVSAM can be exported.')
    return model


def export(args):
    start = time.monotonic()
    print(describe_device(torch.device('cpu')), flush=True)
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
