"""Track objects through a clip by prompting each frame with the last mask."""

import argparse
import signal
from pathlib import Path

import cv2
import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmovsam.apis import track
from mmovsam.apis.auto_labeling.labeler import picture_path
from mmovsam.apis.auto_labeling.overlay import draw_objects
from mmovsam.apis.find import SCORE_THR
from mmovsam.apis.frames import read_frames
from mmovsam.engine.command_line import (
    add_model_arguments,
    load_predictor,
    names_of,
    readable_errors,
)
from mmovsam.fileio import mark_results, write_atomic
from tqdm import tqdm


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('clip', type=Path, help='a video, or a folder of frames in the order of their names')
    objects = parser.add_mutually_exclusive_group(required=True)
    objects.add_argument(
        '--names', nargs='+', help='of objects in the first frame with one of them'
    )
    objects.add_argument(
        '--box',
        nargs=4,
        type=float,
        action='append',
        metavar=('X1', 'Y1', 'X2', 'Y2'),
        help='of an object in the first frame; may be repeated',
    )
    add('--score-thr', type=float, default=SCORE_THR, help='least score of an object of --names')
    add('--no-refind', action='store_true', help='do not look for lost objects: faster')
    add(
        '--out',
        type=Path,
        default=Path('outputs/track'),
        help="folder for tracks.json, COCO's layout with video_id and track_id (%(default)s)",
    )
    add('--show', action='store_true', help='write pictures of the frames, too')
    add('--overwrite', action='store_true', help='replace what is in OUT')
    add_model_arguments(parser)
    return parser.parse_args()


def main(args):
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C
    file = args.out / 'tracks.json'
    pictures = args.out / 'pictures'
    if args.show and pictures.resolve() in (args.clip.resolve(), *args.clip.resolve().parents):
        raise ValueError(f'The pictures would replace frames in {pictures}: choose another --out.')
    predictor = load_predictor(args, cache_size=0)

    def show(name, image, annotations):
        bar.update()
        if args.show:
            objects = [
                dict(a, counts=a['segmentation']['counts'], name=f'{a["track_id"]} {a["name"]}')
                for a in annotations
            ]
            labels = sorted({obj['name'] for obj in objects})
            _, data = cv2.imencode('.jpg', draw_objects(image, objects, labels))
            mark_results(pictures)
            write_atomic(picture_path(pictures, name), data.tobytes())

    with tqdm(unit='frame') as bar:
        content = track(
            predictor,
            read_frames(args.clip),
            names_of(args.names),
            args.box,
            video=args.clip.name,
            score_thr=args.score_thr,
            on_frame=show,
            out=file,
            overwrite=args.overwrite,
            **(dict(refind_thr=None) if args.no_refind else {}),
        )
    names = {category['id']: category['name'] for category in content['categories']}
    tracks = {}
    for annotation in content['annotations']:
        key = annotation['track_id'], names[annotation['category_id']]
        tracks.setdefault(key, []).append(annotation['image_id'] - 1)
    for (number, name), frames in tracks.items():
        extent = f'in {len(frames)} frames, {frames[0]} to {frames[-1]}'
        print(f'{number:>4}  {name or "object":<32} {extent}')
    print(f'Done: {len(tracks)} objects in {len(content["images"])} frames: {file}')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('The same command goes on from here.'):
        main(args)
