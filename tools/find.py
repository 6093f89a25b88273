"""Find all objects of some names in images."""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmengine.dist import is_main_process
from mmovsam.apis import auto_label
from mmovsam.apis.find import SCORE_THR
from mmovsam.apis.tiles import TILE_OVERLAP
from mmovsam.engine.command_line import (
    add_model_arguments,
    load_predictor,
    names_of,
    readable_errors,
)
from mmovsam.engine.processes import join_processes
from mmovsam.vocabulary import Vocabulary


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('images', help='an image, a folder with all folders in it, a glob, or a .txt of paths')
    add(
        '--names',
        nargs='+',
        required=True,
        help="what to find: dog 'a red cup'; or a file of names",
    )
    add('--background', help='what else there may be: a text file with a name on a line, coco, '
        "imagenet1k, ...; by default the model's own names")  # fmt: skip
    add('--score-thr', type=float, default=SCORE_THR, help='leave out objects with a lower score')
    add('--detector', help='look at the boxes of a detector only: its config, or a name of '
        "MMDetection's index")  # fmt: skip
    add('--points-per-side', type=int, help='ask about a grid of points: 32 finds smaller '
        'things than 16; by default what suits the model')  # fmt: skip
    add('--tile-size', type=int, metavar='PIXELS', help='look at a large image in tiles of this '
        'side, that overlap, and put together what a seam cuts')  # fmt: skip
    add('--tile-overlap', type=float, default=TILE_OVERLAP, help='of neighboring tiles, in parts '
        'of their side (default: %(default)s)')  # fmt: skip
    add('--out', type=Path, default=Path('outputs/find'), help='folder for found.json, in COCO\'s '
        'layout, and pictures (default: %(default)s)')  # fmt: skip
    add_model_arguments(parser)
    add('--overwrite', action='store_true', help='replace what is in OUT')
    return parser.parse_args()


def print_found(path):
    """A line for each object of a COCO file, and how many there are of each name."""
    content = json.loads(path.read_text())
    files = {image['id']: image['file_name'] for image in content['images']}
    names = {each['id']: each['name'] for each in content['categories']}
    counts = Counter(dict.fromkeys(names.values(), 0))
    print(f'{"image":<32}{"name":<24}{"score":>6}  x, y, width, height')
    for each in content['annotations']:
        name = names[each['category_id']]
        counts[name] += 1
        bbox = ', '.join(f'{side:.0f}' for side in each['bbox'])
        print(f'{files[each["image_id"]]:<32}{name:<24}{each["score"]:>6.2f}  {bbox}')
    print(', '.join(f'{name}: {count}' for name, count in counts.items()))


def main(args):
    join_processes()
    predictor = load_predictor(args, cache_size=0)
    predictor.set_vocabulary(names_of(args.names))
    options = dict(score_thr=args.score_thr)
    if args.background:
        options['background'] = list(Vocabulary.from_source(args.background).names)
    if args.detector:
        options['detector'] = args.detector
    else:
        options['candidates'] = dict(points_per_side=args.points_per_side)
    if args.tile_size is not None:
        options.update(tile_size=args.tile_size, tile_overlap=args.tile_overlap)
    out = args.out / 'found.json'
    done = auto_label(
        predictor,
        args.images,
        out,
        prompter='find',
        prompter_options=options,
        show_dir=args.out / 'pictures',
        overwrite=args.overwrite,
    )
    if is_main_process():
        for name, error in done.unreadable.items():
            print(f'left out {name}: {error}', file=sys.stderr)
        print_found(out)
        print(f'Done: {done.num_objects} objects in {done.num_images} images: {out}, '
              f'{args.out / "pictures"}/')  # fmt: skip


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('The same command goes on from here.'):
        main(args)
