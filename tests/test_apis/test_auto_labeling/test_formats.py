"""Labels as other programs read them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from small_world import rle

from mmovsam.apis.auto_labeling.formats import label_files, object_record, write_labels
from mmovsam.apis.auto_labeling.yolo_pictures import link_or_copy
from mmovsam.apis.input_list import FileNames, file_key
from mmovsam.evaluation.open_vocab_metric import mask_iou

NAMES = ('a "cat", kitty', 'Eule: grün', 'unknown')
HEIGHT, WIDTH = 40, 60


def masks():
    """A ring, and two pieces."""
    rows, columns = np.indices((HEIGHT, WIDTH))
    distance = np.hypot(rows - 20, columns - 22)
    pieces = np.zeros((HEIGHT, WIDTH), bool)
    pieces[2:9, 30:41] = pieces[30:38, 45:60] = True
    return [(distance < 16) & (distance > 7), pieces]


def thing(mask, name, score):
    return object_record(name, score, rle(mask), [name, 'a "cat", kitty'], [0.9, 0.05])


@pytest.fixture
def records():
    ring, pieces = masks()
    objects = [thing(ring, 'Eule: grün', 0.75), thing(pieces, 'unknown', 0.5)]
    return [
        dict(file_name='a/1.jpg', width=WIDTH, height=HEIGHT, objects=objects),
        dict(file_name='a/b/2.png', width=30, height=20, objects=[]),
        dict(file_name='c.jpg', width=WIDTH, height=HEIGHT, objects=objects[1:]),
    ]


def write(out, format, records, polygons=False):
    images = {}
    for record in records:
        path = images[record['file_name']] = out.parent / 'images' / record['file_name']
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (record['width'], record['height'])).save(path)
    write_labels(out, format, records, images, NAMES, polygons)


@pytest.mark.parametrize('polygons', [False, True])
def test_pycocotools_reads_what_was_found(tmp_path, records, polygons):
    write(tmp_path / 'out.json', 'coco', records, polygons)
    coco = COCO(str(tmp_path / 'out.json'))
    assert [category['name'] for category in coco.loadCats([1, 2, 3])] == list(NAMES)
    images = coco.loadImgs([1, 2, 3])
    keys = ('file_name', 'width', 'height')
    assert [[i[k] for k in keys] for i in images] == [[r[k] for k in keys] for r in records]
    assert [len(coco.getAnnIds(imgIds=i)) for i in (1, 2, 3)] == [2, 0, 1]
    for annotation, expected in zip(coco.loadAnns([1, 2]), masks()):
        found = coco.annToMask(annotation).astype(bool)
        assert mask_iou(found, expected) > (0.95 if polygons else 0.9999)
        assert annotation['area'] == expected.sum() and annotation['iscrowd'] == 0
        x, y, width, height = map(int, annotation['bbox'])
        assert expected[y : y + height, x : x + width].sum() == expected.sum()
        assert isinstance(annotation['segmentation'], list if polygons else dict)
    first, second, third = coco.loadAnns([1, 2, 3])
    assert [a['category_id'] for a in (first, second, third)] == [2, 3, 3]
    assert first['score'] == 0.75 and first['top_k'] == records[0]['objects'][0]['top_k']
    evaluation = COCOeval(coco, coco.loadRes(list(coco.anns.values())), 'segm')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_labelme_finds_images_and_groups_the_pieces_of_an_object(tmp_path, records):
    write(tmp_path / 'labels', 'labelme', records)
    path = tmp_path / 'labels' / 'a' / '1.json'
    content = json.loads(path.read_text())
    image = path.parent / content['imagePath']
    assert image.resolve() == (tmp_path / 'images' / 'a' / '1.jpg').resolve()
    assert (content['imageHeight'], content['imageWidth']) == (HEIGHT, WIDTH)
    ring, *pieces = content['shapes']
    assert ring['label'] == 'Eule: grün' and ring['group_id'] is None and ring['score'] == 0.75
    assert [piece['group_id'] for piece in pieces] == [2, 2]
    corners = {tuple(sorted(map(tuple, piece['points']))[0]) for piece in pieces}
    assert corners == {(30, 2), (45, 30)}
    assert json.loads((tmp_path / 'labels' / 'a' / 'b' / '2.json').read_text())['shapes'] == []


def test_yolo_has_its_classes_and_a_line_an_object_of_the_same_mask(tmp_path, records):
    write(tmp_path / 'yolo', 'yolo', records)
    lines = (tmp_path / 'yolo' / 'labels' / 'a' / '1.txt').read_text().splitlines()
    assert len(lines) == 2
    for line, label, expected in zip(lines, (1, 2), masks()):
        number, *coordinates = line.split()
        ring = np.array(coordinates, float).reshape(-1, 2)
        assert int(number) == label and ring.min() >= 0 and ring.max() <= 1
        encoded = coco_mask.frPyObjects(
            [(ring * (WIDTH, HEIGHT)).flatten().tolist()], HEIGHT, WIDTH
        )
        assert mask_iou(coco_mask.decode(encoded)[..., 0].astype(bool), expected) > 0.95
    assert (tmp_path / 'yolo' / 'labels' / 'a' / 'b' / '2.txt').read_text() == ''
    yaml = pytest.importorskip('yaml')  # MMEngine brings it
    content = yaml.safe_load((tmp_path / 'yolo' / 'data.yaml').read_text(encoding='utf-8'))
    assert content['names'] == dict(enumerate(NAMES))
    assert Path(content['path']) == tmp_path / 'yolo'


def test_yolo_folder_has_pictures_and_a_split(tmp_path, records):
    names = [*(f'{number}.png' for number in range(25)), 'in images/images/1.jpg', 'b\n.png']
    records = [dict(records[1], file_name=name) for name in names]
    write(tmp_path / 'yolo', 'yolo', records)
    lists = [
        (tmp_path / 'yolo' / f'{part}.txt').read_text().splitlines() for part in ('train', 'val')
    ]
    assert [len(each) for each in lists] == [24, 2]
    assert sorted(sum(lists, [])) == sorted(f'./images/{name}' for name in names[:-1])
    for line in sum(lists, []):
        picture = tmp_path / 'yolo' / line
        assert picture.samefile(tmp_path / line)
        start, end = str(picture).rsplit('/images/', 1)  # as Ultralytics' img2label_paths
        assert Path(f'{start}/labels/{end}').with_suffix('.txt').read_text() == ''
    write(tmp_path / 'one', 'yolo', records[:1])
    assert (tmp_path / 'one' / 'train.txt').read_text() == './images/0.png\n'
    assert (tmp_path / 'one' / 'val.txt').read_text() == './images/0.png\n'


def test_original_is_not_linked_where_ultralytics_would_rewrite_it(tmp_path):
    whole, longer, target = (tmp_path / name for name in ('1.jpg', '2.jpg', 'out/3.jpg'))
    Image.new('RGB', (30, 20)).save(whole)
    longer.write_bytes(whole.read_bytes() + b'more')
    for source in (whole, longer):
        before = source.stat()
        link_or_copy(source, target)
        assert target.read_bytes() == source.read_bytes()
        assert target.samefile(source) == (source == whole)
        assert source.stat().st_mode == before.st_mode


@pytest.mark.parametrize('other', ['CAF\u00c9.jpg', 'cafe\u0301.jpg', 'caf\u00e9.png'])
def test_two_images_with_one_file_on_some_file_system_are_refused(other):
    names = ['caf\u00e9.jpg', other]
    with pytest.raises(ValueError, match='would both be in'):
        label_files(Path('out'), 'yolo', names)
    used = FileNames()
    assert len({file_key(used.name(name)) for name in names}) == 2


@pytest.mark.parametrize(
    'out, format, names, message',
    [
        ('', 'coco', ['1.jpg'], 'is a folder, expected a JSON file'),
        ('file', 'yolo', ['1.jpg'], 'is a file, expected a folder'),
        ('', 'voc', ['1.jpg'], "format is 'voc'; choose one of coco, .*, label_studio"),
        ('out', 'coco_panoptic', ['1.jpg'], 'should end with .json'),
        ('out.json', 'coco_panoptic', ['1.jpg', '1.png'], 'would both be in'),
    ],
)
def test_place_that_does_not_fit_is_refused_before_any_work(tmp_path, out, format, names, message):
    (tmp_path / 'file').touch()
    with pytest.raises(ValueError, match=message):
        label_files(tmp_path / out, format, names)


def test_panoptic_pictures_have_the_ids_of_the_file(tmp_path, records):
    write(tmp_path / 'out.json', 'coco_panoptic', records)
    content = json.loads((tmp_path / 'out.json').read_text())
    categories = [(each['id'], each['name'], each['isthing']) for each in content['categories']]
    assert categories == [(number, name, 1) for number, name in enumerate(NAMES, 1)]
    assert [each['file_name'] for each in content['images']] == [r['file_name'] for r in records]
    files = [each['file_name'] for each in content['annotations']]
    assert files == ['a/1.png', 'a/b/2.png', 'c.png']
    written = label_files(tmp_path / 'out.json', 'coco_panoptic', [r['file_name'] for r in records])
    assert written == [tmp_path / name for name in ('out.json', *(f'out/{file}' for file in files))]
    for number, (record, annotation) in enumerate(zip(records, content['annotations']), 1):
        picture = np.asarray(Image.open(tmp_path / 'out' / annotation['file_name'])).astype(int)
        assert annotation['image_id'] == number
        assert picture.shape == (record['height'], record['width'], 3)
        ids = picture @ [1, 256, 256**2]
        segments = {each['id']: each for each in annotation['segments_info']}
        assert set(np.unique(ids)) == {0, *segments} and len(segments) == len(record['objects'])
        for number, segment in segments.items():
            assert segment['area'] == (ids == number).sum()
            assert NAMES[segment['category_id'] - 1] == segment['name']
