"""Draws the small world that the configs read, in LVIS v1's format, or other splits of it."""

import argparse
import sys
from pathlib import Path

from mini_world import SPLITS, write_pictures, write_split

PICTURES = 'pictures'  # of one object each, with labels, for ovsam_mini_22k.py


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    parts = (*SPLITS, PICTURES)
    add('out', nargs='?', type=Path, default=Path('data/mini_world'), help='folder for all of it')
    add('--only', nargs='+', choices=parts, default=parts, help='some parts of it')
    add('--num-images', type=int, help='scenes of each split, in place of those of the configs')
    add('--seed', type=int, help='in place of that of the configs')
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
