"""The page's masks against pycocotools, in a browser."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

SEED = 20261127
MASK = 'const { Mask, measured } = await import("./page/mask.js"); const size = given.size;'


@pytest.fixture(scope='module')
def run(new_user):
    """`run(script, given)`: what a script returns that has `Mask`."""
    page = new_user().page
    return lambda script, given: page.evaluate(f'async (given) => {{ {MASK} {script} }}', given)


def rle_of(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return dict(size=encoded['size'], counts=encoded['counts'].decode())


def masks():
    print('seed', SEED)
    rng = np.random.default_rng(SEED)
    for _ in range(30):
        shape = rng.integers(1, 40, 2)
        yield rng.random(shape) < rng.choice([0, 0.05, 0.5, 0.95, 1])
        blob = np.zeros((90, 130), bool)
        y, x = rng.integers(0, 80, 2)
        blob[y : y + rng.integers(1, 90), x : x + rng.integers(1, 60)] = True
        yield blob


def test_run_lengths_become_masks_and_masks_run_lengths(run):
    for mask in masks():
        rle = rle_of(mask)
        script = (
            'const mask = Mask.decode(given.counts, size);'
            'const { area, bbox } = measured(given.counts, size);'
            'return [mask.encode(size), [mask.area, area], [mask.bbox, bbox]];'
        )
        counts, areas, bboxes = run(script, rle)
        assert counts == rle['counts'] and areas == [mask.sum()] * 2
        assert bboxes == [coco_mask.toBbox(rle).tolist()] * 2


@pytest.mark.parametrize('counts', ['', '0', 'abc', '~', '\u00e4', 'P' * 40])
def test_what_is_no_mask_of_the_picture_is_refused(run, counts):
    script = 'try { Mask.decode(given.counts, size) } catch { return "refused" }'
    assert run(script, dict(counts=counts, size=[6, 8])) == 'refused'


def test_outlines_fill_to_the_same_pixels(run):
    script = """
        const [height, width] = size, canvas = new OffscreenCanvas(width, height);
        const context = canvas.getContext('2d');
        context.fill(Mask.decode(given.counts, size).path, 'evenodd');
        const { data } = context.getImageData(0, 0, width, height);
        return Array.from({ length: width * height }, (_, index) => data[4 * index + 3] > 127);
    """
    for mask in masks():
        filled = np.reshape(run(script, rle_of(mask)), mask.shape)
        np.testing.assert_array_equal(filled, mask)


def test_a_brush_paints_and_erases_discs_along_a_line(run):
    rows, columns = np.mgrid[:60, :80] + 0.5
    start = np.zeros((60, 80), bool)
    start[40:50, 5:12] = True
    for value in (1, 0):
        script = (
            'const mask = Mask.decode(given.counts, size).stroke('
            f'[[10, 45], [70, 45], [90, 45]], 6, {value}, size); return mask.encode(size);'
        )
        counts = run(script, rle_of(start))
        found = coco_mask.decode(dict(size=[60, 80], counts=counts)).astype(bool)
        near = np.hypot(np.maximum(10 - columns, 0), rows - 45) <= 6
        np.testing.assert_array_equal(found, start | near if value else start & ~near)


def test_overlap_is_that_of_pycocotools(run):
    rng = np.random.default_rng(SEED)
    for _ in range(10):
        pair = []
        for _ in range(2):
            mask = np.zeros((50, 60), bool)
            y, x = rng.integers(0, 30, 2)
            mask[y : y + 20, x : x + 25] = rng.random((20, 25)) < 0.8
            pair.append(rle_of(mask))
        script = (
            'const [a, b] = given.pair.map(({ counts }) => Mask.decode(counts, size));'
            'return a.iou(b);'
        )
        found = run(script, dict(pair=pair, size=[50, 60]))
        assert found == pytest.approx(coco_mask.iou(pair[:1], pair[1:], [0])[0, 0])
