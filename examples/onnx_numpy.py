"""Segment and name objects with an export of tools/export.py: numpy, pillow and onnxruntime.

python onnx_numpy.py outputs/onnx photo.jpg --box 5 109 72 172 --points 256,132 --out masks.png
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

COLORS = np.array([[230, 60, 60], [60, 160, 230], [70, 200, 90], [240, 190, 40], [180, 90, 220]])


class OVSAM:
    """An exported model: set an image once, prompt it many times.

    Args:
        folder: The folder that tools/export.py wrote.
        precision: 'float32' or 'int8'.
        vocabulary: A file of other names (.npz) than those in the folder.
    """

    def __init__(self, folder, precision='float32', vocabulary=None):
        folder = Path(folder)
        self.settings = json.loads((folder / 'model.json').read_text(encoding='utf-8'))
        if precision not in self.settings['files']:
            raise ValueError(f'{folder} has no {precision} files: export it with --{precision}.')
        files = self.settings['files'][precision]
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(folder / files[part], providers=['CPUExecutionProvider'])
            for part in ('encoder', 'decoder')
        )
        self.names, self.shared = [], {}
        if 'vocabulary' in self.settings:
            with np.load(vocabulary or folder / self.settings['vocabulary']) as arrays:
                self.shared = dict(arrays)
            self.names = self.shared.pop('names').tolist()

    def set_image(self, image, value_range=None):
        """Encode a PIL image; value_range as for `to_rgb`."""
        image = to_rgb(image, value_range)
        size = self.settings['image_size']
        self.scale = size / max(image.size)
        self.ori_size = image.size
        self.img_size = tuple(max(1, int(side * self.scale + 0.5)) for side in image.size)
        width, height = self.img_size
        pixels = np.asarray(resized(image, self.img_size), np.float32)
        padded = np.zeros((size, size, 3), np.float32)
        padded[:height, :width] = (pixels - self.settings['mean']) / self.settings['std']
        features = self.encoder.run(None, {'image': padded.transpose(2, 0, 1)[None].copy()})
        self.shared.update(zip(self.settings['encoder']['outputs'], features))
        self.shared['img_shape'] = np.array([height, width])

    def predict(self, points=(), labels=(), box=None):
        """Segment and name one object.

        Args:
            points: (P, 2) xy in pixels of the image.
            labels: (P,), 1 for foreground, 0 for background.
            box: x1, y1, x2, y2 in pixels of the image.

        Returns:
            The mask (H, W) bool, its quality from 0 to 1, and the probability of each name.
        """
        # A box is two points with labels 2 and 3; without one, a padding point has label -1.
        corners = np.reshape((0, 0) if box is None else box, (-1, 2))
        coords = np.concatenate((np.reshape(points, (-1, 2)), corners))
        kinds = [*labels, *((-1,) if box is None else (2, 3))]
        factors = np.divide(self.img_size, self.ori_size)
        prompt = {
            'point_coords': (coords * factors)[None].astype(np.float32),
            'point_labels': np.array([kinds], np.int64),
        }
        logits, scores, *probabilities = self.decoder.run(None, {**self.shared, **prompt})
        probabilities = dict(zip(self.names, probabilities[0][0])) if probabilities else {}
        return self.full_size(logits[0, 0]), float(scores[0]), probabilities

    def full_size(self, logits):
        """Convert low-resolution logits over the padded input to a mask of the image."""
        size = self.settings['image_size']
        image = resized(Image.fromarray(logits), (size, size))
        image = resized(image.crop((0, 0, *self.img_size)), self.ori_size)
        return np.asarray(image) > 0


def to_rgb(image, value_range=None):
    """Convert a PIL image to 8-bit RGB, rotated by its EXIF orientation.

    Gray images of more than 8 bits are scaled from value_range, by default from their 0.5th to
    their 99.5th percentile; 8-bit values in a larger type are kept. Of color images of more than 8
    bits, PIL has only the upper 8 bits.
    """
    is_deep = any(';16' in str(tile) for tile in getattr(image, 'tile', ()))
    image = ImageOps.exif_transpose(image)
    if image.mode[0] not in 'IF':
        image = image.convert('RGB')
        if is_deep and max(high for _, high in image.getextrema()) < 128:
            raise ValueError('The colors use less than 16 bits: convert the image to 8 bits first.')
        return image
    pixels = np.asarray(image, np.float64)
    finite = pixels[np.isfinite(pixels)]
    if not finite.size:
        raise ValueError('The image has no finite value.')
    low, high = value_range or np.percentile(finite, (0.5, 99.5))
    pixels = np.nan_to_num(pixels, nan=low, posinf=high, neginf=low)
    if value_range is None:
        if low == high:
            low, high = pixels.min(), pixels.max()
        for unit in (1 / 255, 1, 256, 257):
            counts = np.rint(pixels / unit)
            whole = np.abs(counts * unit - pixels).max() <= unit / 1000
            if whole and counts.min() >= 0 and 0 < counts.max() <= 255:
                low, high = 0, 255 * unit
                break
    pixels = (np.clip(pixels, low, high) - low) * (255 / (high - low) if high > low else 0)
    return Image.fromarray(np.rint(pixels).astype(np.uint8)).convert('RGB')


def resized(image, size):
    """Resize bilinearly without antialiasing, as in training, unlike pillow's resize."""
    if image.size == tuple(size):
        return image
    steps = image.width / size[0], 0, 0, 0, image.height / size[1], 0
    return image.transform(size, Image.Transform.AFFINE, steps, Image.Resampling.BILINEAR)


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('folder', help='folder that tools/export.py wrote')
    add('image', help='image file')
    add(
        '--box',
        nargs=4,
        type=float,
        action='append',
        default=[],
        metavar=('X1', 'Y1', 'X2', 'Y2'),
        help='box around an object, in pixels; repeat it for more objects',
    )
    add(
        '--points',
        nargs='+',
        type=point,
        action='append',
        default=[],
        metavar='X,Y[,0]',
        help='points on an object, with ,0 background points; repeat it for more objects',
    )
    add('--int8', dest='precision', action='store_const', const='int8', default='float32')
    add('--vocabulary', metavar='FILE', help='.npz file of names other than those of the export')
    add(
        '--value-range',
        nargs=2,
        type=float,
        metavar=('LOW', 'HIGH'),
        help='values of black and white in images of more than 8 bits (default: percentiles)',
    )
    add('--top', type=int, default=3, help='number of names printed (default: 3)')
    add('--out', metavar='FILE', help='picture to write, of the image with its masks')
    args = parser.parse_args()
    if not args.box and not args.points:
        parser.error('give a --box or --points')
    return args


def point(text):
    """`X,Y` or `X,Y,LABEL` as three numbers."""
    numbers = [float(part) for part in text.split(',')]
    if len(numbers) == 2:
        numbers.append(1.0)
    if len(numbers) != 3 or numbers[2] not in (0, 1):
        raise ValueError(text)
    return numbers


def main(args):
    model = OVSAM(args.folder, args.precision, args.vocabulary)
    with Image.open(args.image) as image:
        model.set_image(image, args.value_range)
        picture = np.array(to_rgb(image, args.value_range))
    prompts = [(f'box {" ".join(f"{x:g}" for x in box)}', {'box': box}) for box in args.box]
    for given in args.points:
        x, y, labels = np.transpose(given)
        text = 'points ' + ' '.join(','.join(f'{x:g}' for x in p) for p in given)
        prompts.append((text, {'points': np.stack((x, y), 1), 'labels': labels.astype(int)}))
    for index, (text, prompt) in enumerate(prompts):
        mask, score, probabilities = model.predict(**prompt)
        best = sorted(probabilities.items(), key=lambda item: -item[1])[: args.top]
        names = ', '.join(f'{name} {probability:.3f}' for name, probability in best)
        print(f'{text}: {names or "-"}; quality {score:.3f}, {mask.sum()} pixels')
        picture[mask] = (picture[mask] + COLORS[index % len(COLORS)]) // 2
    if args.out:
        Image.fromarray(picture).save(args.out)


if __name__ == '__main__':
    try:
        main(parse_args())
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f'error: {error}')
