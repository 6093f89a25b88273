"""Show what OVSAM does on photographs: cut out what boxes and points mean, and name it."""

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
COLUMNS, WIDTH = 3, 1500  # of the sheet of all pictures, in pictures and in pixels
FONT_SIZE = 34  # see `draw_objects`
PALETTE = [(255, 60, 160), (0, 190, 255), (150, 220, 0), (255, 170, 0), (150, 90, 255)]  # RGB
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


class Case(NamedTuple):
    """What is asked about a photograph; `mmovsam.apis.loading` says whose they are."""

    photo: str
    prompts: list | str  # points (x, y) and boxes (x1, y1, x2, y2) in pixels, or `EVERYTHING`
    names: tuple[str, ...] | None = None  # None for all names that come with the model


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
    add('--names', help="what things may be called, 'espresso, a red saucer'; by default COCO's "
        "80 and ImageNet's 1,000 names, and on some photographs words of ours")  # fmt: skip
    add('--photos', nargs='+', choices=list(EXAMPLE_PHOTOS), help='by default all')
    add('--out', type=Path, default=Path('outputs/demo'), help='folder for the pictures')
    add_model_arguments(parser, value_range=False)
    return parser.parse_args()


def answers(predictor, case):
    """What the model says to each prompt of the image that is set, as `draw_objects` takes it."""
    if case.prompts == EVERYTHING:
        found = predictor.segment_everything(non_overlapping=True)
        found = [(x['segmentation'], x['name'], x['score'], x['predicted_iou']) for x in found]
    else:
        asked = [
            dict(box=prompt) if len(prompt) == 4 else dict(point_coords=[prompt], point_labels=[1])
            for prompt in case.prompts
        ]
        result = predictor.predict_batch(asked, mask_format='rle', top_k=1)
        names, name_scores = (names[0] for names in result.names), result.name_scores[:, 0]
        found = zip(result.masks, names, name_scores.tolist(), result.scores)
    objects = []
    for row, (mask, name, score, iou) in enumerate(found):
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
    known = [name for built in name_encoder.built.values() for name in built.names]
    typed = args.names and [name.strip() for name in names_of(args.names.split(','))]
    print_row('photo', 'prompt', 'name', 'probability', 'IoU', 'photographer, terms')
    sheet = []
    for number, case in enumerate(CASES):
        if args.photos and case.photo not in args.photos:
            continue
        photo = EXAMPLE_PHOTOS[case.photo]
        image = photo.load()
        predictor.set_image(image)
        predictor.set_vocabulary(name_encoder.classifier(typed or case.names or known))
        objects = answers(predictor, case)
        for row, thing in enumerate(objects):
            print_row(
                case.photo if row == 0 else '',
                thing['prompt'],
                thing['name'],
                f'{thing["score"]:.2f}',
                f'{thing["iou"]:.2f}',
                photo.terms if row == 0 else '',
            )
        names = list(dict.fromkeys(thing['name'] for thing in objects))
        drawn = draw_objects(
            with_prompts(image, case.prompts)[..., ::-1],
            objects,
            names,
            FONT_SIZE,
            PALETTE * (1 + len(names) // len(PALETTE)),
        )[..., ::-1]
        write_jpeg(args.out / f'{number}_{case.photo}.jpg', drawn)
        sheet.append(drawn)
    print('\nPrompts: point x, y or box x1, y1, x2, y2. IoU: what the model expects of its mask.')
    mark_results(args.out)
    write_jpeg(args.out / 'demo.jpg', contact_sheet(sheet, COLUMNS, WIDTH), 80)
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
