"""Semantic segmentation of images, and mIoU with annotated maps."""

import argparse
import sys
from contextlib import contextmanager
from pathlib import Path

import cv2
import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import numpy as np
from mmovsam.apis import semantic_map
from mmovsam.apis.auto_labeling.formats import distinct_files
from mmovsam.apis.auto_labeling.journal import Journal, model_settings
from mmovsam.apis.auto_labeling.labeler import MAX_FAILED
from mmovsam.apis.input_list import list_images
from mmovsam.apis.large_image import open_large_image
from mmovsam.datasets import LabelMapDataset
from mmovsam.datasets.label_map import read_label_map
from mmovsam.engine.command_line import (
    add_model_arguments,
    add_tile_arguments,
    load_predictor,
    readable_errors,
    tile_options,
)
from mmovsam.engine.processes import only_run
from mmovsam.evaluation.semantic import IGNORED, semantic_scores
from mmovsam.fileio import mark_results, write_atomic
from mmovsam.validation import require_not_among
from mmovsam.vocabulary import Vocabulary
from tqdm import tqdm


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('images', help='folder of images')
    add('--vocabulary', required=True, help='ade20k, pascal_context, coco, ..., or a text file')
    add('--labels', help='folder of annotated maps: PNG files of one channel')
    add('--first-value', type=int, default=1, help='of the first class in maps (%(default)s)')
    add('--out', type=Path, help='folder for maps; 0 is no class, or 65535 with --first-value 0')
    add('--points-per-side', type=int, help='side of a grid of points as prompts')
    add('--overwrite', action='store_true', help='replace maps in OUT')
    add_tile_arguments(parser)
    add_model_arguments(parser)
    args = parser.parse_args()
    if not 0 <= args.first_value < 65535:
        parser.error('--first-value is from 0 to 65534')
    if not (args.labels or args.out):
        parser.error('give --labels to compare with, --out to write to, or both')
    return args


def list_pairs(args, names):
    """For each image the name of its map, its path, and that of the annotated map or None."""
    if args.labels is None:
        paths = list_images(args.images, leave_out=[args.out] if args.out else ())
        return [(name, path, None) for name, path in paths.items()]
    data = LabelMapDataset(
        data_prefix=dict(img=args.images, seg=args.labels),
        metainfo=dict(classes=[''] * args.first_value + list(names)),
        pipeline=[],
        test_mode=True,
        lazy_init=True,
    )
    keys = ('img_id', 'img_path', 'seg_map_path')
    return [tuple(info[key] for key in keys) for info in data.load_data_list()]


def map_files(args, pairs):
    """Paths of the predicted maps, by the names of images."""
    files = {name: (args.out / name).with_suffix('.png') for name, *_ in pairs}
    distinct_files(files)
    require_not_among(files.values(), [path for _, *paths in pairs for path in paths if path])
    return files


def predict_map(args, predictor, path, names):
    """The class indices `(H, W)` of an image, -1 for none."""
    image = open_large_image(path, value_range=predictor.value_range)
    options = tile_options(args)
    if options:
        options['image'] = image
    else:
        predictor.set_image(image.window(0, 0, *image.shape[::-1]), 'BGR')
    annotations = predictor.segment_everything(points_per_side=args.points_per_side, **options)
    return semantic_map(annotations, image.shape, names)


def predict(args, predictor, pairs, names, files, left_out, done, write):
    """Yield predicted and annotated maps of the images that have an annotated one."""
    no_class = 0 if args.first_value else 65535
    any_done = False
    for name, path, label_path in tqdm(pairs, unit='image'):
        if name in done and files[name].exists():
            values = read_label_map(files[name])
            predicted = np.where(values == no_class, -1, values - args.first_value)
        else:
            try:
                predicted = predict_map(args, predictor, path, names)
            except (OSError, ValueError) as error:
                left_out[name] = error
                if len(left_out) == min(MAX_FAILED, len(pairs)) and not any_done:
                    raise
                continue
            if files:
                values = np.where(predicted < 0, no_class, predicted + args.first_value)
                data = cv2.imencode('.png', values.astype(np.uint16))[1].tobytes()
                write_atomic(files[name], data)
                write(dict(file_name=name))
        any_done = True
        if label_path is not None:
            truth = read_label_map(label_path) - args.first_value
            if truth.shape != predicted.shape:
                raise ValueError(f'{label_path} has another size than {path}: {truth.shape}.')
            yield predicted, np.where((truth >= 0) & (truth < len(names)), truth, IGNORED)


@contextmanager
def open_journal(args, predictor, files):
    """The images that an unfinished run has done, and a function that notes others."""
    if args.out is None:
        yield (), None
        return
    keys = ('first_value', 'points_per_side', 'tile_size', 'tile_overlap')
    settings = {key: getattr(args, key) for key in keys}
    journal = Journal(args.out, dict(model_settings(predictor), **settings))
    journal.check_new(files.values(), args.overwrite)
    with only_run(journal.folder / 'lock'):
        done = journal.open(args.overwrite)
        mark_results(args.out)
        with journal.writer(0) as write:
            yield done, write
        journal.remove()


def main(args):
    vocabulary = Vocabulary.from_source(args.vocabulary)
    names = vocabulary.names
    if args.first_value + len(names) > 65535:
        raise ValueError(
            f'{len(names)} classes from {args.first_value} on exceed a PNG file: up to 65534 have '
            'a value.'
        )
    pairs = list_pairs(args, names)
    files = map_files(args, pairs) if args.out else {}
    predictor = load_predictor(args, cache_size=0)
    predictor.set_vocabulary(vocabulary)
    left_out = {}
    with open_journal(args, predictor, files) as (done, write):
        maps = predict(args, predictor, pairs, names, files, left_out, done, write)
        scores = semantic_scores(maps, len(names)) if args.labels else list(maps)
    if args.labels:
        print(f'{"class":<32}{"IoU":>7}{"Acc":>7}')
        for name, iou, accuracy in zip(names, scores['IoU'], scores['Acc']):
            if not np.isnan(iou):
                print(f'{name:<32}{iou:>7.2f}{accuracy:>7.2f}')
        print(', '.join(f'{key} {scores[key]:.2f}' for key in ('mIoU', 'mAcc', 'aAcc')))
    for name, error in left_out.items():
        print(f'left out {name}: {error}', file=sys.stderr)
    skipped = f', {len(left_out)} left out' if left_out else ''
    print(f'Done: {len(pairs) - len(left_out)} images{skipped}{f": {args.out}/" * bool(args.out)}')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('The same command goes on from here.' * bool(args.out)):
        main(args)
