"""Large images in tiles: pieces that seams cut are put together, by masks alone."""

import numpy as np
import pytest
from mini_world import CATEGORIES, draw_mosaic
from pycocotools import mask as coco_mask
from scipy import ndimage
from small_predictor import build
from small_world import mask_of, rle

from mmovsam.apis import OVSAMPredictor
from mmovsam.apis.inference_results import moved
from mmovsam.apis.large_image import open_large_image
from mmovsam.apis.tidying import distinct, label_map, with_mask
from mmovsam.apis.tiles import in_tiles

SEED = 11


def thing(mask, **about):
    return dict(with_mask(dict(name='cat', score=0.5, predicted_iou=0.5), mask), **about)


def perfect(pixels):
    """What a perfect model finds in a tile: all pieces, connected by sides."""
    regions, count = ndimage.label(pixels[..., 2] > 0)  # red
    return [thing(regions == i, name=str(pixels[regions == i][0, 1])) for i in range(1, count + 1)]


def as_image(mask, names=0):
    return np.stack([mask * 255, mask * 0 + names, mask * 0], axis=2).astype(np.uint8)


def test_a_mask_in_a_larger_frame_and_back():
    print('seed', SEED)
    random = np.random.default_rng(SEED)
    for share in (0, 0.03, 0.5, 0.97, 1):
        small = random.random((7, 9)) < share
        for top, left, height, width in ((0, 0, 7, 9), (3, 5, 30, 20), (0, 4, 7, 13), (2, 0, 9, 9)):
            whole = np.zeros((height, width), bool)
            whole[top : top + 7, left : left + 9] = small
            assert moved(rle(small), left, top, whole.shape) == rle(whole)
            assert moved(rle(whole), -left, -top, small.shape) == rle(small)


@pytest.mark.parametrize('overlap', [0.1, 0.25, 0.5])
def test_pieces_of_a_perfect_model_are_the_objects(overlap):
    print('seed', SEED)
    random = np.random.default_rng([SEED, int(100 * overlap)])
    for _ in range(5):
        mask = np.zeros(random.integers(100, 300, 2), bool)
        # large and small blobs without narrow places, where pieces would part within a tile
        for y, x in np.ndindex(*-(-np.array(mask.shape) // 60)):
            height, width = random.integers(3, 57, 2)
            mask[60 * y : 60 * y + height, 60 * x : 60 * x + width] = True
        found = distinct(in_tiles(open_large_image(as_image(mask)), perfect, 64, overlap), 0.9)
        regions, count = ndimage.label(mask)
        expected = [rle(regions == i)['counts'] for i in range(1, count + 1)]
        assert sorted(each['segmentation']['counts'] for each in found) == sorted(expected)
        for each in found:
            assert each['area'] == mask_of(each).sum()
            assert each['bbox'] == coco_mask.toBbox(each['segmentation']).tolist()


def test_pieces_of_other_names_stay_apart_if_names_are_asked_for():
    mask = np.zeros((100, 200), bool)
    mask[40:60, 20:180] = True
    names = (np.arange(200) >= 80)[None] + np.zeros((100, 1))  # of the tile at the right it is 1
    image = open_large_image(as_image(mask, names))
    assert len(in_tiles(image, perfect, 120, 0.25)) == 1
    assert len(in_tiles(image, perfect, 120, 0.25, by_name=True)) == 2


@pytest.fixture(scope='module')
def mosaic():
    print('seed', SEED)
    return draw_mosaic(np.random.default_rng(SEED), 'test', 1, 2)


@pytest.fixture(scope='module')
def small_world():
    return OVSAMPredictor.from_pretrained('ovsam-mini', 'cpu', cache_size=0)


def test_objects_of_a_mosaic_are_found_across_the_seam(small_world, mosaic):
    found = small_world.segment_everything(mosaic.image, tile_size=320, non_overlapping=True)
    assert not small_world.is_image_set
    masks, others = [rle(mask) for mask in mosaic.masks], [each['segmentation'] for each in found]
    assert (coco_mask.iou(masks, others, [0] * len(found)).max(1) > 0.5).mean() > 0.8
    ids, _ = label_map(found, mosaic.image.shape)
    assert (ids > 0).sum() == sum(each['area'] for each in found)


def test_names_are_found_in_tiles(small_world, mosaic):
    truth = [CATEGORIES[i - 1].name for i in mosaic.category_ids]
    found = small_world.find(list(dict.fromkeys(truth)), mosaic.image, tile_size=320, score_thr=0.3)
    masks, others = [rle(mask) for mask in mosaic.masks], [each['segmentation'] for each in found]
    ious = coco_mask.iou(masks, others, [0] * len(found))  # (objects, found)
    right = (ious.max(0) > 0.5) & [
        each['name'] == truth[i] for each, i in zip(found, ious.argmax(0))
    ]
    assert right.sum() >= 0.6 * len(masks) and right.mean() >= 0.7


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(tile_size=8), 'tile_size must be at least 16 pixels, not 8'),
        (dict(tile_size='64'), "tile_size must be at least 16 pixels, not '64'"),
        (dict(tile_size=64, tile_overlap=0.9), 'tile_overlap must lie between 0 and 0.5, not 0.9'),
        (dict(tile_size=64, crop_layers=1), 'Give crop_layers or tile_size'),
        (dict(tile_size=64, image=None), 'need the image itself'),
    ],
)
def test_mistakes_are_named(options, message):
    options = dict(dict(image=np.zeros((70, 90, 3), np.uint8)), **options)
    with pytest.raises(ValueError, match=message):
        OVSAMPredictor(build()).segment_everything(**options)
