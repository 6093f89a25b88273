"""Build a text classifier: what a text tower makes of class names."""

import argparse
import time
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmengine.registry import DATASETS, init_default_scope
from mmovsam.engine.command_line import add_device_arguments, device_of, readable_errors
from mmovsam.pretrained import MODELS, read_config
from mmovsam.validation import require_not_among
from mmovsam.vocabulary import Vocabulary, load_text_encoder, save_classifier


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'source',
        help='coco, lvis, imagenet1k or imagenet22k; a text file with a class a line, its synonyms '
        'after commas and prompts of its own after tabs; a registered dataset; or a config, whose '
        'test data set, or training data set if it has no test, has the classes (with it LVIS '
        'knows which are novel)',
    )
    parser.add_argument('out', nargs='?', default=argparse.SUPPRESS, help='the same as --out')
    parser.add_argument('--out', metavar='FILE', help='file to write, .safetensors')
    parser.add_argument(
        '--model',
        help="open_clip's name of the model, 'photo' for the photo models, the name of a "
        'pretrained model, or a config that has a text_encoder or the model as clip; by default '
        'SOURCE if that is a config with a text_encoder',
    )
    parser.add_argument('--checkpoint', help="its weights: a file or one of open_clip's tags")
    parser.add_argument('--names', help="of the model 'photo': the file of its known names")
    parser.add_argument(
        '--templates',
        help='ovsam (default of CLIP models), simple, openai_imagenet, simple_imagenet, or a text '
        "file with a sentence a line, {} for the name; without it 'photo' has phrases of its own",
    )
    parser.add_argument(
        '--bits',
        type=int,
        help='bits of each number in the file, such as 8, for a small one (default: float32)',
    )
    parser.add_argument(
        '--no-split', action='store_true', help='forget which classes are base and which novel'
    )
    parser.add_argument('--batch-size', type=int, default=256, help='sentences encoded at once')
    add_device_arguments(parser, half=False)
    parser.add_argument(
        '--no-cache',
        action='store_true',
        help='neither read nor keep encoded names (MMOVSAM_CACHE: folder of the cache, or off)',
    )
    args = parser.parse_args()
    if args.out is None:
        parser.error('give the file to write: --out FILE')
    return args


def read_vocabulary(args):
    source = args.source
    if source.endswith('.py'):
        cfg = read_config(source)
        init_default_scope(cfg.get('default_scope', 'mmdet'))
        loader = cfg.get('test_dataloader') or cfg.train_dataloader
        source = DATASETS.build(loader.dataset)
    options = dict(novel=None) if args.no_split else {}
    return Vocabulary.from_source(source, templates=args.templates, **options)


def text_encoder(args):
    """Arguments of `load_text_encoder`."""
    given = dict(model=args.model)
    file = args.model or args.source
    if file.endswith('.py') or file in MODELS:
        cfg = read_config(file, weights=False)
        given = cfg.get('text_encoder') or dict(model=cfg.get('clip'))
    if args.checkpoint:
        given = dict(given, checkpoint=args.checkpoint)
    if args.names:
        given = dict(given, names=args.names)
    if given['model'] is None:
        raise ValueError('Give --model and --checkpoint, or a config that has a text_encoder.')
    if given.get('checkpoint') is None:
        raise ValueError('Give --checkpoint: a vocabulary of random weights would mean nothing.')
    return given


def build(args):
    require_not_among([args.out], filter(None, [args.source, args.names, args.checkpoint]))
    encoder = text_encoder(args)
    device = device_of(args)
    vocabulary = read_vocabulary(args)
    start = time.monotonic()
    text_model, tokenizer = load_text_encoder(**encoder)
    classifier = vocabulary.build_classifier(
        text_model.to(device), tokenizer, args.batch_size, cache=not args.no_cache
    )
    save_classifier(args.out, classifier, args.bits)
    kinds = {'base': False, 'novel': True, 'neither, so never predicted': None}
    parts = [f'{(vocabulary.novel or ()).count(flag)} {kind}' for kind, flag in kinds.items()]
    split = f' ({", ".join(parts)})' if vocabulary.novel else ''
    print(
        f'Done in {time.monotonic() - start:.1f} s. {len(vocabulary)} classes{split} with '
        f'{len(classifier.embeddings)} names are in {Path(args.out).resolve()}'
    )


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('Nothing is written.'):
        build(args)
