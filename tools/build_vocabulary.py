"""Build a text classifier from class names with a text encoder."""

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
    add = parser.add_argument
    add(
        'source',
        help='coco, lvis, imagenet1k or imagenet22k; a text file with a class on each line, '
        'synonyms after commas and prompts after tabs; a registered dataset; or a config, for the '
        'classes of its test (or training) data set and their split',
    )
    add('out', nargs='?', default=argparse.SUPPRESS, help='the same as --out')
    add('--out', metavar='FILE', help='file to write, .safetensors')
    add(
        '--model',
        help="name of an open_clip model, 'photo', the name of a pretrained model, or a config "
        'with text_encoder or clip (default: SOURCE, if it is a config with a text_encoder)',
    )
    add('--checkpoint', help="weights of the model: a file or one of open_clip's tags")
    add('--names', help="file of known names for the model 'photo'")
    add(
        '--templates',
        help='ovsam (default of CLIP models), simple, openai_imagenet, simple_imagenet, or a text '
        'file with a sentence on each line and {} for the name',
    )
    add('--bits', type=int, help='bits of each number in the file, such as 8 (default: float32)')
    add('--no-split', action='store_true', help='drop the split of base and novel classes')
    add('--batch-size', type=int, default=256, help='sentences encoded at once')
    add_device_arguments(parser, half=False)
    add('--no-cache', action='store_true', help='do not use the cache of encoded names')
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
    options = dict(model=args.model)
    config = args.model or args.source
    if config.endswith('.py') or config in MODELS:
        cfg = read_config(config, weights=False)
        options = cfg.get('text_encoder') or dict(model=cfg.get('clip'))
    for key in ('checkpoint', 'names'):
        if getattr(args, key):
            options = dict(options, **{key: getattr(args, key)})
    if options['model'] is None:
        raise ValueError('Give --model and --checkpoint, or a config that has a text_encoder.')
    if options.get('checkpoint') is None:
        raise ValueError('Give --checkpoint: a vocabulary of random weights would mean nothing.')
    return options


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
    counts = [f'{(vocabulary.novel or ()).count(flag)} {kind}' for kind, flag in kinds.items()]
    split = f' ({", ".join(counts)})' if vocabulary.novel else ''
    print(
        f'Done in {time.monotonic() - start:.1f} s. {len(vocabulary)} classes{split} with '
        f'{len(classifier.embeddings)} names are in {Path(args.out).resolve()}'
    )


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('Nothing is written.'):
        build(args)
