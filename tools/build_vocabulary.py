"""Build a text classifier: what a CLIP text tower makes of class names."""

import argparse
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmovsam.engine.command_line import readable_errors
from mmovsam.vocabulary import TextClassifier, Vocabulary, load_text_encoder, save_classifier


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'source', help='text file of one class a line, or a config whose test data set has them'
    )
    parser.add_argument('out', help='file to write, .safetensors')
    parser.add_argument(
        '--model', help="open_clip's name of the model; by default the config's text_encoder"
    )
    parser.add_argument('--checkpoint', help="its weights: a file or one of open_clip's tags")
    parser.add_argument('--batch-size', type=int, default=256, help='sentences encoded at once')
    return parser.parse_args()


def build(args):
    text_encoder = dict(model=args.model, checkpoint=args.checkpoint)
    if args.source.endswith('.py'):
        from mmengine.config import Config
        from mmengine.registry import DATASETS, init_default_scope

        cfg = Config.fromfile(args.source)
        init_default_scope(cfg.get('default_scope', 'mmdet'))
        vocabulary = Vocabulary.from_metainfo(DATASETS.build(cfg.test_dataloader.dataset).metainfo)
        if args.model is None:
            text_encoder = cfg.get('text_encoder', text_encoder)
    else:
        vocabulary = Vocabulary.from_file(args.source)
    if text_encoder['model'] is None:
        raise ValueError('Give --model and --checkpoint, or a config that has a text_encoder.')
    if text_encoder.get('checkpoint') is None:
        raise ValueError('Give --checkpoint: a vocabulary of random weights would mean nothing.')
    embeddings = vocabulary.encode(*load_text_encoder(**text_encoder), batch_size=args.batch_size)
    save_classifier(args.out, TextClassifier(embeddings, vocabulary.names, vocabulary.novel))
    print(f'Done. {len(vocabulary)} classes are in {Path(args.out).resolve()}')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors():
        build(args)
