"""Segment and name objects of example photographs by boxes and points."""

import argparse
import logging
import os
import time
from pathlib import Path
from typing import NamedTuple

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import cv2

from mmovsam.apis import EXAMPLE_PHOTOS
from mmovsam.apis.auto_labeling.formats import object_record
from mmovsam.apis.auto_labeling.overlay import contact_sheet, draw_objects
from mmovsam.apis.loading import load
from mmovsam.engine.command_line import (
    add_model_arguments,
    load_predictor,
    names_of,
    readable_errors,
)
from mmovsam.fileio import mark_results, write_atomic

EVERYTHING = 'everything'
COLUMNS, WIDTH = 3, 1500  # of the contact sheet, in pictures and in pixels
FONT_SIZE = 34  # see `draw_objects`
PALETTE = [(255, 60, 160), (0, 190, 255), (150, 220, 0), (255, 170, 0), (150, 90, 255)]  # RGB
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


class Case(NamedTuple):
    """The prompts for a photograph of `mmovsam.apis.loading`."""

    photo: str
    prompts: list | str  # points (x, y) and boxes (x1, y1, x2, y2) in pixels, or `EVERYTHING`
    names: tuple[str, ...] | None = None  # None for all names of the model


CASES = [
    Case('coffee', [(170, 15, 410, 310), (326, 205, 406, 326)]),
    Case('astronaut', [(150, 10, 305, 185), (278, 344, 512, 512)]),
    Case('chelsea', [(250, 200)]),
    Case(
        'coffee',
        [(290, 150), (430, 300), (326, 205, 406, 326)],
        ('espresso', 'a red saucer', 'a teaspoon'),
    ),
    Case('rocket', [(308, 125, 334, 408), (0, 0, 88, 415)], ('a rocket', 'a tower', 'a lamp')),
    Case('camera', [(60, 330), (228, 300, 408, 512)]),
    Case(
        'astronaut',
        [(364, 0, 470, 285), (278, 344, 512, 512)],
        ('a space shuttle', 'a helmet', 'a flag', 'a woman'),
    ),
    Case('coins', EVERYTHING, ('a coin', 'a button')),
    Case(
        'camera',
        [(256, 136, 328, 192), (410, 115, 435, 195)],
        ('a camera', 'a tripod', 'a tower', 'a man'),
    ),
]


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--names', help="such as 'espresso, a red saucer', in place of those of each photograph")
    add('--photos', nargs='+', choices=list(EXAMPLE_PHOTOS), help='(default: all)')
    add('--out', type=Path, default=Path('outputs/demo'), help='folder for the pictures')
    add_model_arguments(parser, value_range=False)
    return parser.parse_args()


def predict(predictor, case):
    """Objects for the prompts of the image that is set, for `draw_objects`."""
    if case.prompts == EVERYTHING:
        annotations = predictor.segment_everything(non_overlapping=True)
        keys = ('segmentation', 'name', 'score', 'predicted_iou')
        results = [[annotation[key] for key in keys] for annotation in annotations]
    else:
        prompts = [
            dict(box=prompt) if len(prompt) == 4 else dict(point_coords=[prompt], point_labels=[1])
            for prompt in case.prompts
        ]
        result = predictor.predict_batch(prompts, mask_format='rle', top_k=1)
        names, name_scores = (names[0] for names in result.names), result.name_scores[:, 0]
        results = zip(result.masks, names, name_scores.tolist(), result.scores)
    objects = []
    for row, (mask, name, score, iou) in enumerate(results):
        name = name.split(',')[0].split(' (')[0]  # without synonyms and ImageNet's number
        prompt = EVERYTHING if case.prompts == EVERYTHING else str(case.prompts[row])[1:-1]
        objects.append(dict(object_record(name, score, mask, (), ()), prompt=prompt, iou=iou))
    return objects


def with_prompts(image, prompts):
    """The image with boxes and points on it."""
    image = image.copy()
    for color, width in ((BLACK, 3), (WHITE, 1)):
        for prompt in prompts if prompts != EVERYTHING else ():
            if len(prompt) == 4:
                cv2.rectangle(image, prompt[:2], prompt[2:], color, width)
            else:
                cv2.circle(image, prompt, 4, color, width + 2)
    return image


def print_row(photo, prompt, name, probability, iou, terms=''):
    print(f'{photo:<11}{prompt:<20}{name:<26}{probability:>11}{iou:>6}  {terms}'.rstrip())


def main(args):
    logging.captureWarnings(True)
    start = time.monotonic()
    predictor, name_encoder = load_predictor(args, load)
    known = [name for vocabulary in name_encoder.built.values() for name in vocabulary.names]
    names = args.names and [name.strip() for name in names_of(args.names.split(','))]
    print_row('photo', 'prompt', 'name', 'probability', 'IoU', 'photographer, terms')
    pictures = []
    for number, case in enumerate(CASES):
        if args.photos and case.photo not in args.photos:
            continue
        photo = EXAMPLE_PHOTOS[case.photo]
        image = photo.load()
        predictor.set_image(image)
        predictor.set_vocabulary(name_encoder.classifier(names or case.names or known))
        objects = predict(predictor, case)
        for row, obj in enumerate(objects):
            print_row(
                case.photo if row == 0 else '',
                obj['prompt'],
                obj['name'],
                f'{obj["score"]:.2f}',
                f'{obj["iou"]:.2f}',
                photo.terms if row == 0 else '',
            )
        labels = list(dict.fromkeys(obj['name'] for obj in objects))
        palette = PALETTE * (1 + len(labels) // len(PALETTE))
        picture = with_prompts(image, case.prompts)[..., ::-1]
        picture = draw_objects(picture, objects, labels, FONT_SIZE, palette)[..., ::-1]
        write_jpeg(args.out / f'{number}_{case.photo}.jpg', picture)
        pictures.append(picture)
    print('\nPrompts: point x, y or box x1, y1, x2, y2. IoU: what the model expects of its mask.')
    mark_results(args.out)
    write_jpeg(args.out / 'demo.jpg', contact_sheet(pictures, COLUMNS, WIDTH), 80)
    out = os.path.relpath(args.out)
    print(f'Done in {time.monotonic() - start:.0f} s. Pictures: {out}/demo.jpg, {out}/*.jpg')


def write_jpeg(path, image, quality=92):
    """Write an image `(H, W, 3)` uint8 RGB."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    write_atomic(path, cv2.imencode('.jpg', image[..., ::-1], options)[1].tobytes())


if __name__ == '__main__':
    args = parse_args()
    with readable_errors():
        main(args)
