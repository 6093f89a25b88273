"""Draws a split of the small world and writes it in LVIS v1's format."""

import argparse
import sys

from mmovsam.datasets.mini_world import SPLITS, write_split


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'out', help='folder for images and annotations, for example data/mini_world'
    )
    parser.add_argument('--split', required=True, choices=SPLITS)
    parser.add_argument('--num-images', type=int, required=True)
    parser.add_argument(
        '--seed', type=int, required=True, help='the same seed gives the same files'
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace another split of this name'
    )
    args = parser.parse_args()
    try:
        annotations = write_split(
            args.out, args.split, args.num_images, args.seed, overwrite=args.overwrite
        )
    except (ValueError, FileExistsError, ImportError) as error:
        sys.exit(f'make_mini_world: {error}')
    print(f'{args.num_images} scenes are in {annotations.parent.parent / args.split}, '
          f'their annotations in {annotations}')  # fmt: skip


if __name__ == '__main__':
    main()
