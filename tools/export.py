"""Export a model to ONNX, with its settings and names, and check the files against PyTorch."""

import argparse
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmovsam.apis import OVSAMPredictor
from mmovsam.engine.command_line import readable_errors
from mmovsam.export import VocabularyArrays, export_onnx
from mmovsam.vocabulary import load_classifier


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
    args = parser.parse_args()
    if not (args.config or args.vocabulary):
        parser.error('give a config, or --vocabulary')
    return args


def export_vocabulary(args):
    arrays = VocabularyArrays.from_classifier(load_classifier(args.vocabulary))
    arrays.save(args.out)
    print(f'Done. {len(arrays.names)} classes are in {Path(args.out).resolve()}')


def export(args):
    model = OVSAMPredictor.from_config(args.config, args.checkpoint).model
    classifier = None
    if model.recognizes:
        file = args.vocabulary or model.classifier.file
        if file is None:
            raise ValueError(f'{args.config} has no vocabulary: give --vocabulary.')
        classifier = load_classifier(file)
    comparison = export_onnx(model, args.out, classifier)
    print(comparison)
    for path in sorted(Path(args.out).iterdir()):
        print(f'{path.stat().st_size / 1e6:10.2f} MB  {path}')
    print(f'Done. The largest difference from PyTorch is {comparison.largest:.2g}.')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('Nothing is written.'):
        (export if args.config else export_vocabulary)(args)
