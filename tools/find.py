"""Find all objects with some names in images."""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmengine.dist import is_main_process
from mmovsam.apis import auto_label
from mmovsam.apis.find import SCORE_THR
from mmovsam.engine.command_line import (
    add_model_arguments,
    add_tile_arguments,
    load_predictor,
    names_of,
    readable_errors,
    tile_options,
)
from mmovsam.engine.processes import join_processes
from mmovsam.vocabulary import Vocabulary


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('images', help='an image, a folder, with its subfolders, a glob, or a .txt of paths')
    add('--names', nargs='+', required=True, help="such as dog 'a red cup', or a file of names")
    add('--background', help="other names: a file, coco, ... (default: the model's own)")
    add('--score-thr', type=float, default=SCORE_THR, help='least score of an object')
    add('--detector', help="find in boxes of a detector: a config, or a name of MMDetection's")
    add('--points-per-side', type=int, help='side of a grid of points as prompts')
    add_tile_arguments(parser)
    add(
        '--out',
        type=Path,
        default=Path('outputs/find'),
        help="folder for found.json, in COCO's layout, and pictures (default: %(default)s)",
    )
    add_model_arguments(parser)
    add('--overwrite', action='store_true', help='replace what is in OUT')
    return parser.parse_args()


def print_found(path):
    """Print the objects of a COCO file, and their number by name."""
    content = json.loads(path.read_text())
    files = {image['id']: image['file_name'] for image in content['images']}
    names = {category['id']: category['name'] for category in content['categories']}
    counts = Counter(dict.fromkeys(names.values(), 0))
    print(f'{"image":<32}{"name":<24}{"score":>6}  x, y, width, height')
    for annotation in content['annotations']:
        file, name = files[annotation['image_id']], names[annotation['category_id']]
        counts[name] += 1
        bbox = ', '.join(f'{value:.0f}' for value in annotation['bbox'])
        print(f'{file:<32}{name:<24}{annotation["score"]:>6.2f}  {bbox}')
    print(', '.join(f'{name}: {count}' for name, count in counts.items()))


def main(args):
    join_processes()
    predictor = load_predictor(args, cache_size=0)
    predictor.set_vocabulary(names_of(args.names))
    options = dict(score_thr=args.score_thr, **tile_options(args))
    if args.background:
        options['background'] = list(Vocabulary.from_source(args.background).names)
    if args.detector:
        options['detector'] = args.detector
    else:
        options['candidates'] = dict(points_per_side=args.points_per_side)
    out = args.out / 'found.json'
    summary = auto_label(
        predictor,
        args.images,
        out,
        prompter='find',
        prompter_options=options,
        show_dir=args.out / 'pictures',
        overwrite=args.overwrite,
    )
    if is_main_process():
        for name, error in summary.unreadable.items():
            print(f'left out {name}: {error}', file=sys.stderr)
        print_found(out)
        counts = f'{summary.num_objects} objects in {summary.num_images} images'
        print(f'Done: {counts}: {out}, {args.out / "pictures"}/')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('The same command goes on from here.'):
        main(args)
