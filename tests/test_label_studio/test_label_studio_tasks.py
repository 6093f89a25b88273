"""Masks as Label Studio's regions, and tasks that its own package accepts."""

import json
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from label_studio_requests import decode_brush, label_config
from pycocotools import mask as coco_mask
from small_world import rle

from mmovsam.apis.auto_labeling.formats import object_record, write_labels
from mmovsam.apis.auto_labeling.label_config import KINDS, Label
from mmovsam.apis.auto_labeling.label_studio import (
    encode_brush,
    label_config_of,
    mask_regions,
    read_label_config,
)
from mmovsam.evaluation.open_vocab_metric import mask_iou

WIDTH, HEIGHT = 80, 60
NAMES = ('plum', 'Eule: grün', '"<b>" & co')


def square_and_ring():
    """Two pieces, one of them with a hole."""
    rows, columns = np.indices((HEIGHT, WIDTH))
    distance = np.hypot(rows - 30, columns - 55)
    mask = (distance < 20) & (distance > 8)
    mask[10:30, 2:22] = True
    return mask


def regions_of(mask, kind, **options):
    label = Label('plum', 'P', (), 'label', kind.lower())
    return mask_regions(mask, label, 'image', 0.75, 'plum 75%', **options)


def filled(region):
    """The mask that a polygon or a rectangle encloses."""
    value = region['value']
    if region['type'] == 'polygonlabels':
        ring = np.array(value['points'])
    else:
        x, y, width, height = (value[key] for key in ('x', 'y', 'width', 'height'))
        ring = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    assert ring.min() >= 0 and ring.max() <= 100
    ring = (ring / 100 * (WIDTH, HEIGHT)).flatten().tolist()
    return coco_mask.decode(coco_mask.frPyObjects([ring], HEIGHT, WIDTH))[..., 0].astype(bool)


@pytest.mark.parametrize('kind, number', zip(KINDS, (1, 2, 1)))
def test_mask_becomes_regions_of_the_type_of_its_label(kind, number):
    mask = square_and_ring()
    regions = regions_of(mask, kind)
    assert len(regions) == number == len({region['id'] for region in regions})
    assert regions_of(mask, kind)[0]['id'] != regions[0]['id']
    if kind == 'BrushLabels':
        assert np.array_equal(decode_brush(regions[0]['value']['rle'], mask.shape), mask)
    elif kind == 'PolygonLabels':
        assert mask_iou(np.any([filled(region) for region in regions], axis=0), mask) > 0.95
    else:
        box = np.zeros(mask.shape, bool)
        box[10:50, 2:75] = True
        assert np.array_equal(filled(regions[0]), box)
    for region in regions:
        assert region.pop('value')[kind.lower()] == ['P'] and region.pop('id')
        assert region == dict(
            type=kind.lower(),
            from_name='label',
            to_name='image',
            original_width=WIDTH,
            original_height=HEIGHT,
            image_rotation=0,
            score=0.75,
            meta=dict(text=['plum 75%']),
        )
    assert [region['item_index'] for region in regions_of(mask, kind, page=3)] == [3] * number


@pytest.fixture
def records():
    segmentation = rle(square_and_ring())
    objects = [object_record(name, 0.8, segmentation, [name, 'plum'], [0.8, 0.1]) for name in NAMES]
    size = dict(width=WIDTH, height=HEIGHT)
    return [
        dict(size, file_name='a/1 ü.jpg', objects=objects),
        dict(size, file_name='2.jpg', objects=[]),
    ]


def written(folder, records, config):
    images = {each['file_name']: Path('photos', each['file_name']) for each in records}
    write_labels(folder / 'out.json', 'label_studio', records, images, NAMES, False, config)
    return json.loads((folder / 'out.json').read_text(encoding='utf-8'))


@pytest.mark.parametrize('polygons', [False, True])
def test_label_studios_own_package_accepts_the_tasks(tmp_path, records, polygons):
    interface = pytest.importorskip(
        'label_studio_sdk.label_interface', reason='pip install label-studio-sdk, for its checks'
    )
    tasks = written(tmp_path, records, label_config_of(NAMES, None, polygons))
    checks = interface.LabelInterface((tmp_path / 'out.xml').read_text(encoding='utf-8'))
    ((prediction,), nothing) = [task['predictions'] for task in tasks]
    assert checks.validate_prediction(prediction, return_errors=True) == [] == nothing
    kind = KINDS[polygons].lower()
    assert [region['value'][kind][0] for region in prediction['result']] == [
        name for name in NAMES for _ in range(1 + polygons)
    ]
    assert prediction['score'] == pytest.approx(0.8)
    assert prediction['result'][-1]['meta']['text'] == ['"<b>" & co 80%, plum 10%']
    prediction['result'][0]['value'][kind] = ['fig']
    assert checks.validate_prediction(prediction, return_errors=True)


def test_images_are_local_files_in_their_folder(tmp_path, records):
    tasks = written(tmp_path, records, label_config_of(NAMES))
    images = [task['data']['image'] for task in tasks]
    assert images[0].isascii() and images[1] == '/data/local-files/?d=photos/2.jpg'
    assert unquote(images[0]) == '/data/local-files/?d=photos/a/1 ü.jpg'
    assert tasks == written(tmp_path, records, label_config_of(NAMES))
    records[0]['file_name'] = 'lat\udce9.jpg'  # as Python has a byte that is no UTF-8
    first, _ = written(tmp_path, records, label_config_of(NAMES))
    assert first['data']['image'] == '/data/local-files/?d=photos/lat%E9.jpg'


def test_label_config_of_a_project_says_what_labels_are(tmp_path, records):
    special = '<Label value="&quot;&lt;b&gt;&quot; &amp; co" alias="B"/>'
    config = label_config([*NAMES[:2], special]).replace('BrushLabels', 'RectangleLabels')
    config = config.replace('value="$picture"', 'valueList="$pages"')
    (tmp_path / 'config.xml').write_text(config, encoding='utf-8')
    read, labels = read_label_config(tmp_path / 'config.xml')
    assert read == config and labels.vocabulary().names == NAMES
    task, _ = written(tmp_path, records, label_config_of(NAMES, tmp_path / 'config.xml'))
    assert task['data'].keys() == {'pages'} and len(task['data']['pages']) == 1
    result = task['predictions'][0]['result']
    stored = [region['value']['rectanglelabels'] for region in result]
    assert stored == [['plum'], ['Eule: grün'], ['B']]
    assert {region['item_index'] for region in result} == {0}


def test_label_config_that_does_not_fit_is_refused(tmp_path):
    two = label_config(image='a').replace('</View>', label_config(image='b') + '</View>')
    for config, message in (
        (label_config(['plum']), 'no <Label> for 2 of the 3 names, such as Eule: grün'),
        (two, 'labels for 2 images'),
        ('<View/>', 'no <Image'),
    ):
        (tmp_path / 'config.xml').write_text(config, encoding='utf-8')
        with pytest.raises(ValueError, match=message):
            label_config_of(NAMES, tmp_path / 'config.xml')
    with pytest.raises(FileNotFoundError, match='nowhere.xml'):
        label_config_of(NAMES, 'nowhere.xml')


def masks():
    """Discs and diagonal stripes, whose runs have all lengths, and runs that have to be split."""
    for shape in ((1, 1), (1, 9), (7, 1), (90, 170)):
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        disc = np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) < min(shape) / 3
        yield from (np.zeros(shape, bool), disc, (rows * 3 + columns) % 31 < 9)
    for pixels in (1 << 14, (1 << 14) + 1, (1 << 15) + 3):  # 4 values a pixel, 65,536 a run
        yield np.ones((1, pixels), bool)


def test_masks_with_runs_of_all_lengths_survive():
    for mask in masks():
        assert np.array_equal(decode_brush(encode_brush(mask), mask.shape), mask)
    # 24 values of 8 bits; widths 3, 4, 8, 16; runs of 8 zeros, 4 times 255, 12 zeros
    head = f'{24:032b}' + '00111' + '0010' + '0011' + '0111' + '1111'
    runs = '10011100000000' + '10001111111111' + '101101100000000'
    bits = head + runs + '0' * (-len(head + runs) % 8)
    expected = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert encode_brush(np.array([[False, False, True], [False, False, False]])) == expected


def test_label_studios_own_decoder_reads_it():
    brush = pytest.importorskip('label_studio_sdk.converter.brush')
    for mask in masks():
        pixels = brush.decode_rle(encode_brush(mask)).reshape(*mask.shape, 4)
        assert np.array_equal(pixels[..., 3] > 0, mask)
