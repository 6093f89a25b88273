"""Masks and names as `supervision.Detections`, drawn by supervision's annotators.

python with_supervision.py photo.jpg --boxes 326 205 406 326 --names espresso 'a red saucer'

By default, it uses a photograph from scikit-image, and segments everything if no boxes are given.
"""

import argparse

import numpy as np
import supervision as sv
from PIL import Image

from mmovsam.apis import EXAMPLE_PHOTOS, OVSAMPredictor, segment_everything


def detections_of_prediction(prediction):
    """Convert a prediction of `OVSAMPredictor`.

    Args:
        prediction: N masks with names.

    Returns:
        N detections: `xyxy` in pixels, `mask` `(N, H, W)`, `confidence` the probability of the
        best name, and that name in `data['class_name']`.
    """
    return sv.Detections(
        xyxy=prediction.bboxes,
        mask=prediction.masks,
        confidence=prediction.name_scores[:, 0],
        data={'class_name': np.array([names[0] for names in prediction.names])},
    )


def detections_of_everything(objects):
    """Convert the result of `segment_everything(..., output_mode='mask')`."""
    if not objects:
        return sv.Detections.empty()
    corners = np.array([found['bbox'] for found in objects], np.float32)
    corners[:, 2:] += corners[:, :2]  # from x, y, width, height
    return sv.Detections(
        xyxy=corners,
        mask=np.stack([found['segmentation'] for found in objects]),
        confidence=np.array([found['name_scores'][0] for found in objects], np.float32),
        data={'class_name': np.array([found['names'][0] for found in objects])},
    )


def annotate(image, detections):
    """Draw masks, outlines and names on an image, `(H, W, 3)` uint8."""
    by_index = sv.ColorLookup.INDEX  # one color per object, not per class
    labels = (
        [
            f'{name} {confidence:.2f}'
            for name, confidence in zip(
                detections.data.get('class_name', ()), detections.confidence
            )
        ]
        if len(detections)
        else []
    )
    picture = sv.MaskAnnotator(color_lookup=by_index).annotate(image.copy(), detections)
    picture = sv.PolygonAnnotator(color_lookup=by_index).annotate(picture, detections)
    return sv.LabelAnnotator(color_lookup=by_index).annotate(picture, detections, labels=labels)


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('photo', nargs='?', help='image file; by default a photograph from scikit-image')
    add('--boxes', nargs='+', type=float, default=[], help='x1 y1 x2 y2 of each object, in pixels')
    add('--names', nargs='+', help="names to choose from; by default the model's own")
    add('--model', default='ovsam-photo', help='name of a pretrained model')
    add('--out', default='supervision.jpg', help='picture to write')
    args = parser.parse_args()
    if len(args.boxes) % 4:
        parser.error(f'--boxes takes four numbers per object, not {len(args.boxes)}')
    return args


def main(args):
    if args.photo:
        image = np.asarray(Image.open(args.photo).convert('RGB'))
    else:
        image = EXAMPLE_PHOTOS['coffee'].load()
    predictor = OVSAMPredictor.from_pretrained(args.model)
    if args.names:
        predictor.set_vocabulary(args.names)
    predictor.set_image(image)
    if args.boxes:
        boxes = np.reshape(args.boxes, (-1, 4))
        prediction = predictor.predict_batch([{'box': box} for box in boxes])
        detections = detections_of_prediction(prediction)
    else:
        detections = detections_of_everything(segment_everything(predictor, output_mode='mask'))
    for name, area in zip(detections.data.get('class_name', ()), detections.area):
        print(f'{name}: {area:.0f} pixels')
    Image.fromarray(annotate(image, detections)).save(args.out)


if __name__ == '__main__':
    main(parse_args())
