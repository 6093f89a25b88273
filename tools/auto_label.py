"""Label a folder of images with masks and names."""

import argparse
import sys

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmengine.dist import is_main_process
from mmovsam.apis import auto_label
from mmovsam.apis.auto_labeling.formats import FORMATS
from mmovsam.apis.auto_labeling.label_studio import read_label_config
from mmovsam.engine.command_line import (
    add_model_arguments,
    add_prompter_options,
    add_tile_arguments,
    load_predictor,
    prompter_options,
    readable_errors,
    tile_options,
)
from mmovsam.engine.processes import join_processes
from mmovsam.vocabulary import Vocabulary, load_classifier


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('images', help='a folder, with its subfolders, a glob, or a .txt with a path on each line')
    add('out', help='JSON file; a folder for labelme and yolo')
    add(
        '--vocabulary',
        help='names: a text file with a class on each line; coco, lvis, ...; or a classifier of '
        "tools/build_vocabulary.py (default: the config's)",
    )
    add(
        '--prompter',
        default='everything',
        help='everything (the default), find (only objects of the vocabulary), the config of a '
        'detector, or a .json of COCO results as proposals',
    )
    add_prompter_options(
        parser,
        'of everything: points_per_side=32 stability_thr=0.9 ...; of find: score_thr=0.4 '
        'candidates.points_per_side=32 ...; of a detector: '
        'checkpoint=FILE score_thr=0.3 filter.nms_iou=0.7 ...; of proposals: annotations=FILE '
        '(COCO, which images are which) filter.score_thr=0.3 ...',
    )
    add_tile_arguments(parser)
    add_model_arguments(parser)
    add('--format', default='coco', choices=FORMATS)
    add('--polygons', action='store_true', help='in coco and label_studio, in place of RLEs')
    add('--label-config', metavar='FILE', help="label_studio's label config, a vocabulary, too")
    add('--score-thr', type=float, default=0.0, help='least score of an object')
    add(
        '--unknown-below',
        type=float,
        metavar='P',
        help='call objects `unknown` below this probability',
    )
    add('--top-k', type=int, default=5, help='number of names of each object')
    add('--show-dir', help='folder for pictures of the labels')
    add('--font', help='of names in pictures: an installed family, or a file')
    add('--batch-size', type=int, default=1, help='images encoded at once')
    add('--workers', type=int, default=2, help='threads of each process that read images')
    add('--shard', type=int, metavar='N', help='in coco, write files of N images, too')
    add('--overwrite', action='store_true', help='replace OUT or a run with other settings')
    return parser.parse_args()


def label(args):
    join_processes()
    # without a cache, results do not depend on earlier images
    predictor = load_predictor(args, cache_size=0)
    if args.vocabulary:
        is_classifier = args.vocabulary.endswith(('.safetensors', '.pth'))
        load = load_classifier if is_classifier else Vocabulary.from_source
        predictor.set_vocabulary(load(args.vocabulary))
    elif args.label_config:
        predictor.set_vocabulary(read_label_config(args.label_config)[1].vocabulary())
    summary = auto_label(
        predictor,
        args.images,
        args.out,
        prompter=args.prompter,
        prompter_options=prompter_options(args, **tile_options(args)),
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
        for name, error in summary.unreadable.items():
            print(f'left out {name}: {error}', file=sys.stderr)
        skipped = f', {len(summary.unreadable)} left out' if summary.unreadable else ''
        counts = f'{summary.num_objects} objects in {summary.num_images} images'
        print(f'Done: {counts}{skipped}: {args.out}')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('The same command goes on from here.'):
        label(args)
