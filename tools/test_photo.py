"""Measure masks and names of the photo model: the table of docs/photo_model.md."""

import argparse
import json
import time
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmovsam.engine.command_line import add_model_arguments, load_predictor, readable_errors
from mmovsam.fileio import write_atomic
from mmovsam.photos.report import PhotoReport

PARTS = ('masks', 'names', 'other_words', 'many_names', 'everything', 'whole_photographs')


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add_model_arguments(parser, value_range=False)
    add('--data', type=Path, default=Path('data/photos'), help='folder of the data sets')
    add('--val', default='coco_val', help='name of the data set')
    add('--num-images', type=int, help='number of images')
    add('--parts', nargs='+', choices=(*PARTS, 'novel_names', 'baselines'), default=PARTS)
    add('--seed', type=int, default=0, help='of inexact boxes')
    add('--out', type=Path, help='JSON file')
    return parser.parse_args()


def main(args):
    start = time.monotonic()
    report = PhotoReport(load_predictor(args), args.data, args.val, args.num_images, args.seed)
    values = {}
    for part in args.parts:
        for key, value in getattr(report, part)().items():
            values[f'{part}/{key}'] = value
            print(f'{part + "/" + key:<40}{value:10.3f}', flush=True)
    if args.out:
        write_atomic(args.out, json.dumps(values, indent=1).encode())
    where = f', {args.out}' if args.out else ''
    print(f'Measured in {(time.monotonic() - start) / 60:.1f} min: the table above{where}')


if __name__ == '__main__':
    with readable_errors():
        main(parse_args())
