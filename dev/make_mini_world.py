"""Draw the small world of the configs in LVIS v1's format."""

import argparse
import sys
from pathlib import Path

from mini_world import SPLITS, write_pictures, write_split

PICTURES = 'pictures'  # images of single objects for ovsam_mini_22k.py


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    parts = (*SPLITS, PICTURES)
    add('out', nargs='?', type=Path, default=Path('data/mini_world'), help='output folder')
    add('--only', nargs='+', choices=parts, default=parts, help='parts to draw')
    add('--num-images', type=int, help='scenes of each split (default: of the configs)')
    add('--seed', type=int, help='(default: of the configs)')
    add('--overwrite', action='store_true', help='replace other splits of the same name')
    args = parser.parse_args()
    try:
        for part in args.only:
            if part == PICTURES:
                write_pictures(args.out / PICTURES)
            else:
                write_split(args.out, part, args.num_images, args.seed, overwrite=args.overwrite)
            print(f'{part}: in {args.out / part}')
    except (ValueError, FileExistsError, ImportError) as error:
        sys.exit(f'make_mini_world: {error}')


if __name__ == '__main__':
    main()
