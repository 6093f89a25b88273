"""Label a folder of images: find, cut out and name what is in them."""

import argparse
import sys

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmengine.dist import is_main_process
from mmovsam.apis import auto_label
from mmovsam.apis.auto_labeling.formats import FORMATS
from mmovsam.apis.auto_labeling.label_studio import read_label_config
from mmovsam.apis.tiles import TILE_OVERLAP
from mmovsam.engine.command_line import (
    add_model_arguments,
    add_prompter_options,
    load_predictor,
    prompter_options,
    readable_errors,
)
from mmovsam.engine.processes import join_processes
from mmovsam.vocabulary import Vocabulary, load_classifier


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('images', help='a folder with all folders in it, a glob, or a .txt with a path on a line')
    add('out', help='JSON to write; for labelme and yolo a folder')
    add(
        '--vocabulary',
        help='names: a text file with a class on a line; coco, lvis, ...; or a classifier of '
        "tools/build_vocabulary.py; by default the config's",
    )
    add(
        '--prompter',
        default='everything',
        help='what says where objects are: everything (the default), find (as everything, but only '
        'objects of the vocabulary, against the names of the model), the config of a detector, or '
        'proposals, a .json of COCO results',
    )
    add_prompter_options(
        parser,
        'of everything: points_per_side=32 stability_thr=0.9 ...; of find: score_thr=0.4 '
        'candidates.points_per_side=32 ...; of a detector: '
        'checkpoint=FILE score_thr=0.3 filter.nms_iou=0.7 ...; of proposals: annotations=FILE '
        '(COCO, which images are which) filter.score_thr=0.3 ...',
    )
    add(
        '--tile-size',
        type=int,
        metavar='PIXELS',
        help='of everything and find: look at large images in tiles of this side, that overlap, '
        'and put together what a seam cuts',
    )
    add(
        '--tile-overlap',
        type=float,
        default=TILE_OVERLAP,
        help='of neighboring tiles, in parts of their side (default: %(default)s)',
    )
    add_model_arguments(parser)
    add('--format', default='coco', choices=FORMATS)
    add(
        '--polygons',
        action='store_true',
        help='for coco and label_studio: polygons in place of run lengths',
    )
    add(
        '--label-config',
        metavar='FILE',
        help="for label_studio: the project's label config, whose labels are the vocabulary if "
        'none is given',
    )
    add('--score-thr', type=float, default=0.0, help='leave out objects with a lower score')
    add(
        '--unknown-below',
        type=float,
        metavar='P',
        help='call objects `unknown` whose name is less probable',
    )
    add('--top-k', type=int, default=5, help='names that are kept of each object')
    add('--show-dir', help='folder for pictures of the labels')
    add('--font', help='of names in pictures: an installed family, or a file')
    add('--batch-size', type=int, default=1, help='images encoded at once')
    add('--workers', type=int, default=2, help='threads of each process that read images ahead')
    add('--shard', type=int, metavar='N', help='for coco: besides OUT, files of N images each')
    add(
        '--overwrite',
        action='store_true',
        help='replace OUT, and forget an unfinished run that had other settings',
    )
    return parser.parse_args()


def label(args):
    join_processes()
    # Without a cache an image gets the same result whatever was labeled before it.
    predictor = load_predictor(args, cache_size=0)
    if args.vocabulary:
        built = args.vocabulary.endswith(('.safetensors', '.pth'))
        predictor.set_vocabulary(
            (load_classifier if built else Vocabulary.from_source)(args.vocabulary)
        )
    elif args.label_config:
        predictor.set_vocabulary(read_label_config(args.label_config)[1].vocabulary())
    tiles = {}
    if args.tile_size is not None:
        tiles = dict(tile_size=args.tile_size, tile_overlap=args.tile_overlap)
    done = auto_label(
        predictor,
        args.images,
        args.out,
        prompter=args.prompter,
        prompter_options=prompter_options(args, **tiles),
        format=args.format,
        polygons=args.polygons,
        label_config=args.label_config,
        score_thr=args.score_thr,
        unknown_below=args.unknown_below,
        top_k=args.top_k,
        show_dir=args.show_dir,
        font=args.font,
        batch_size=args.batch_size,
        num_workers=args.workers,
        shard=args.shard,
        overwrite=args.overwrite,
    )
    if is_main_process():
        for name, error in done.unreadable.items():
            print(f'left out {name}: {error}', file=sys.stderr)
        skipped = f', {len(done.unreadable)} left out' if done.unreadable else ''
        print(f'Done: {done.num_objects} objects in {done.num_images} images{skipped}: {args.out}')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('The same command goes on from here.'):
        label(args)
