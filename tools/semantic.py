"""Make maps of classes of images, and compare them with annotated ones: mIoU."""

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
from mmovsam.apis.tiles import TILE_OVERLAP
from mmovsam.datasets import LabelMapDataset
from mmovsam.datasets.label_map import read_label_map
from mmovsam.engine.command_line import add_model_arguments, load_predictor, readable_errors
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
    add('--vocabulary', required=True, help='names: ade20k, pascal_context, coco, ..., or a text '
        'file with a class on a line')  # fmt: skip
    add('--labels', help='folder of annotated maps: PNG files of one channel')
    add('--first-value', type=int, default=1, help='of the first class in the maps; values of no '
        'class do not count (default: %(default)s, as in ADE20K and Pascal Context)')  # fmt: skip
    add('--out', type=Path, help='folder for maps of the same values; 0 is no class, or '
        '65535 where 0 is one')  # fmt: skip
    add('--points-per-side', type=int, help='ask about a grid of points: 32 finds smaller '
        'things than 16; by default what suits the model')  # fmt: skip
    add('--overwrite', action='store_true', help='replace maps in OUT')
    add('--tile-size', type=int, metavar='PIXELS', help='look at large images in tiles')
    add('--tile-overlap', type=float, default=TILE_OVERLAP, help='of neighboring tiles')
    add_model_arguments(parser)
    args = parser.parse_args()
    if not 0 <= args.first_value < 65535:
        parser.error('--first-value is from 0 to 65534')
    if not (args.labels or args.out):
        parser.error('give --labels to compare with, --out to write to, or both')
    return args


def pairs_of(args, names):
    """Paths of images, by what their maps are called, and of annotated maps, which may be None."""
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
    return [(each['img_id'], each['img_path'], each['seg_map_path'])
            for each in data.load_data_list()]  # fmt: skip


def map_files(args, pairs):
    """Where the maps of images go, by the images' names."""
    files = {name: (args.out / name).with_suffix('.png') for name, *_ in pairs}
    distinct_files(files)
    require_not_among(files.values(), [path for _, *read in pairs for path in read if path])
    return files


def map_of(args, predictor, path, names):
    """The map of classes of an image, (H, W), -1 for none."""
    image = open_large_image(path, value_range=predictor.value_range)
    options = dict(image=image, tile_size=args.tile_size, tile_overlap=args.tile_overlap)
    if args.tile_size is None:
        predictor.set_image(image.window(0, 0, *image.shape[::-1]), 'BGR')
        options = {}
    things = predictor.segment_everything(points_per_side=args.points_per_side, **options)
    return semantic_map(things, image.shape, names)


def predict(args, predictor, pairs, names, files, left_out, done, write):
    """For each image its map of classes and the annotated one, if there is one."""
    nothing = 0 if args.first_value else 65535
    is_any = False
    for name, path, label_path in tqdm(pairs, unit='image'):
        if name in done and files[name].exists():
            values = read_label_map(files[name])
            found = np.where(values == nothing, -1, values - args.first_value)
        else:
            try:
                found = map_of(args, predictor, path, names)
            except (OSError, ValueError) as error:
                left_out[name] = error
                if len(left_out) == min(MAX_FAILED, len(pairs)) and not is_any:
                    raise
                continue
            if files:
                values = np.where(found < 0, nothing, found + args.first_value)
                data = cv2.imencode('.png', values.astype(np.uint16))[1].tobytes()
                write_atomic(files[name], data)
                write(dict(file_name=name))
        is_any = True
        if label_path is not None:
            truth = read_label_map(label_path) - args.first_value
            if truth.shape != found.shape:
                raise ValueError(f'{label_path} has another size than {path}: {truth.shape}.')
            yield found, np.where((truth >= 0) & (truth < len(names)), truth, IGNORED)


@contextmanager
def going_on(args, predictor, files):
    """The names of images whose maps an unfinished run has written, and what notes more of them."""
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
        raise ValueError(f'{len(names)} classes from {args.first_value} on exceed a PNG file: up '
                         'to 65534 have a value.')  # fmt: skip
    pairs = pairs_of(args, names)
    files = map_files(args, pairs) if args.out else {}
    predictor = load_predictor(args, cache_size=0)
    predictor.set_vocabulary(vocabulary)
    left_out = {}
    with going_on(args, predictor, files) as (done, write):
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
