"""A folder of images from end to end, by a small random model."""

import json
import os
import shutil
import time

import numpy as np
import pytest
import tiny
from filelock import FileLock
from mmdet.registry import MODELS
from PIL import Image
from pycocotools import mask as coco_mask
from tiny_dump import in_two_processes

from mmovsam.apis import OVSAMPredictor, auto_label
from mmovsam.apis.auto_labeling import sources
from mmovsam.apis.auto_labeling.labeler import Labeler
from mmovsam.apis.auto_labeling.sources import EverythingSource

ALL = dict(points_per_side=2, stability_thr=0, min_area=1, nms_iou=0.999)
"""A random model's masks are of no quality."""
NAMES = ('a/1.png', 'a/b/2.jpg', 'c.jpg', 'd.png', 'e.jpg', 'f.png')


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for name in NAMES:
        path = tmp_path / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (*generator.integers(30, 70, 2), 3)
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return tmp_path


@pytest.fixture
def run(folder, model):
    """`run(out, ...)`: labels the folder."""

    def call(out='out.json', *, options=ALL, vocabulary=None, **arguments):
        predictor = OVSAMPredictor(model, cache_size=0)
        predictor.set_vocabulary(vocabulary or tiny.vocabulary())
        arguments = dict(prompter_options=options, progress=False, **arguments)
        return auto_label(predictor, folder / 'images', folder / out, **arguments)

    return call


@pytest.fixture
def stopped(run, monkeypatch):
    """`stopped(n, ...)`: a run that is stopped after n batches."""
    label = Labeler.label

    def call(number, **arguments):
        left = [number]

        def interrupted(self, paths):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return label(self, paths)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Labeler, 'label', interrupted)
            run(**arguments)

    return call


def read(path):
    return json.loads(path.read_text())


def test_folder_becomes_a_coco_file(run, folder):
    done = run()
    content = read(folder / 'out.json')
    assert [image['file_name'] for image in content['images']] == list(NAMES)
    assert [category['name'] for category in content['categories']] == list(tiny.NAMES)
    assert done.num_images == 6 and done.unreadable == {}
    assert done.num_objects == len(content['annotations']) > 6
    sizes = {image['id']: [image['height'], image['width']] for image in content['images']}
    for name, size in zip(NAMES, sizes.values()):
        with Image.open(folder / 'images' / name) as picture:
            assert picture.size == (size[1], size[0])
    for annotation in content['annotations']:
        assert annotation['segmentation']['size'] == sizes[annotation['image_id']]
        assert annotation['area'] == coco_mask.area(annotation['segmentation']) > 0
        best = annotation['top_k'][0]
        assert tiny.NAMES[annotation['category_id'] - 1] == best['name']
        assert annotation['score'] == best['score'] and len(annotation['top_k']) == 5
    assert sorted(os.listdir(folder)) == ['images', 'out.json']


def test_stopped_run_labels_what_it_has_left_of_what_is_there(run, stopped, folder, monkeypatch):
    stopped(4)
    assert not (folder / 'out.json').exists()
    (folder / 'images' / 'c.jpg').rename(folder / 'images' / 'a' / '0.jpg')
    label, again = Labeler.label, []
    monkeypatch.setattr(
        Labeler, 'label', lambda self, paths: again.extend(paths) or label(self, paths)
    )
    assert run().num_images == 6
    assert again == ['a/0.jpg', *NAMES[4:]]
    found = [image['file_name'] for image in read(folder / 'out.json')['images']]
    assert found == sorted({*NAMES, 'a/0.jpg'} - {'c.jpg'})


def test_unfinished_run_goes_on_with_its_settings_or_is_forgotten(run, stopped, folder):
    stopped(2)
    for change, message in [
        (dict(top_k=3), 'top_k was 5 and is 3'),
        (dict(score_thr=0.25), 'score_thr was 0.0 and is 0.25'),
        (dict(options=dict(ALL, points_per_side=3)), 'options was'),
        (dict(vocabulary=tiny.vocabulary(seed=2)), 'vocabulary was'),
        (dict(batch_size=2), 'batch_size was 1 and is 2'),
    ]:
        with pytest.raises(ValueError, match=f'other settings.*{message}.*overwrite'):
            run(**change)
    assert run(polygons=True).num_images == 6  # of the file, not of the labels
    stopped(2, overwrite=True)
    run(top_k=3, overwrite=True)
    assert {len(a['top_k']) for a in read(folder / 'out.json')['annotations']} == {3}


@pytest.mark.parametrize(
    'out, format, file',
    [
        ('out.json', 'coco', 'out.json'),
        ('labels', 'labelme', 'labels/a/1.json'),
        ('yolo', 'yolo', 'yolo/images/c.jpg'),  # a picture
    ],
)
def test_finished_labels_are_not_replaced_unless_asked(run, folder, out, format, file):
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text('mine')
    with pytest.raises(FileExistsError, match=f'already .*{file}.*overwrite'):
        run(out, format=format)
    assert (folder / file).read_text() == 'mine'
    run(out, format=format, overwrite=True)
    assert (folder / file).read_bytes() != b'mine'


@pytest.mark.parametrize('format', ['yolo', 'coco_panoptic'])
def test_pictures_of_a_format_are_no_images_of_the_next_run(run, folder, format):
    out = 'images/out.json' if format == 'coco_panoptic' else 'images/out'
    for _ in range(2):
        assert run(out, format=format, overwrite=True).num_images == 6
    assert run('next.json').num_images == 6


def test_a_journal_that_was_removed_is_told(run, folder, monkeypatch):
    label = Labeler.label

    def cleaned(self, given):
        shutil.rmtree(folder / 'out.json.journal')
        monkeypatch.setattr(Labeler, 'label', label)
        return label(self, given)

    monkeypatch.setattr(Labeler, 'label', cleaned)
    with pytest.raises(FileNotFoundError, match='no longer in .*out.json.journal: run it again'):
        run()
    assert run().num_images == 6


def test_no_label_replaces_an_image(run, folder):
    before = (folder / 'images/c.jpg').read_bytes()
    os.symlink(folder / 'images', folder / 'linked')
    for out in ('images/c.jpg', 'linked/c.jpg'):
        with pytest.raises(ValueError, match='c.jpg is read, and would be replaced'):
            run(out, overwrite=True)
    assert (folder / 'images/c.jpg').read_bytes() == before


@pytest.mark.parametrize('out', ['.', '..'])
def test_labels_may_go_to_the_folder_one_is_in(model, folder, monkeypatch, out):
    (folder / 'inner' / 'here').mkdir(parents=True)
    monkeypatch.chdir(folder / 'inner' / 'here')
    predictor = OVSAMPredictor(model, cache_size=0)
    about = dict(prompter_options=ALL, format='labelme', progress=False)
    auto_label(predictor, folder / 'images', out, **about)
    assert (folder / 'inner' / 'here' / out / 'a' / '1.json').is_file()
    assert not list(folder.rglob('*.journal'))


def test_second_run_into_one_file_is_refused(run, folder):
    (folder / 'out.json.journal').mkdir()
    lock = FileLock(folder / 'out.json.journal' / 'lock', is_singleton=False)
    with lock, pytest.raises(ValueError, match='Another run is filling'):
        run()


@pytest.mark.parametrize('batch_size', [1, 4])
def test_no_single_image_ends_a_run_whatever_it_raises(run, folder, batch_size, monkeypatch):
    images = folder / 'images'
    (images / 'c.jpg').write_bytes((images / 'c.jpg').read_bytes()[:300])
    read_image, find = sources.read_image, EverythingSource.find
    hit, hit_too = (np.asarray(read_image(images / name)).shape for name in ('d.png', 'e.jpg'))

    def reading(path, **kwargs):
        image = read_image(path, **kwargs)
        if image.shape == hit:
            raise TypeError("'<' not supported")
        return image

    def finding(self, predictor, images, top_k):
        if any(image.shape == hit_too for image in images.values()):
            raise IndexError('out of range')
        return find(self, predictor, images, top_k)

    monkeypatch.setattr(sources, 'read_image', reading)
    monkeypatch.setattr(EverythingSource, 'find', finding)
    done = run(batch_size=batch_size)
    reasons = {'c.jpg': 'truncated', 'd.png': 'TypeError', 'e.jpg': 'IndexError'}
    assert done.num_images == 3 and list(done.unreadable) == list(reasons)
    assert all(reason in done.unreadable[name] for name, reason in reasons.items())
    content = read(folder / 'out.json')
    assert [image['file_name'] for image in content['images']] == [*NAMES[:2], 'f.png']
    assert {annotation['image_id'] for annotation in content['annotations']} == {1, 2, 3}


def test_a_model_that_fails_on_all_images_ends_the_run(run, monkeypatch):
    def finding(*_):
        raise RuntimeError('no kernel image is available')

    monkeypatch.setattr(EverythingSource, 'find', finding)
    with pytest.raises(RuntimeError, match='no kernel image'):
        run()


def test_images_of_which_none_can_be_read_give_no_result(run, folder):
    for name in NAMES:
        (folder / 'images' / name).write_bytes(b'cut')
    with pytest.raises(ValueError, match='None of the 6 images can be .*truncated'):
        run()
    assert not list(folder.glob('out*'))


def test_two_images_with_one_picture_are_refused(run, folder):
    image = folder / 'images' / 'f.png'
    image.with_name('f.png.jpg').write_bytes(image.read_bytes())
    with pytest.raises(ValueError, match=r'f\.png and f\.png\.jpg would both be in .*f\.png\.jpg'):
        run(show_dir=folder / 'pictures')


def test_process_that_is_quicker_takes_more_and_two_give_what_one_gives(run, folder):
    label = Labeler.label

    def by(rank):
        path = folder / f'by_{rank}'
        return path.read_text().split() if path.exists() else []

    def label_in_two(rank):
        def labeling(self, images):
            with open(folder / f'by_{rank}', 'a') as file:
                file.writelines(f'{name}\n' for name in images)
            while not rank and len(by(1)) < 3:  # it is at its first image
                time.sleep(0.01)
            return label(self, images)

        Labeler.label = labeling
        assert run('two.json', num_workers=1).num_images == 6

    assert in_two_processes(label_in_two) == [0, 0]
    assert sorted(by(0) + by(1)) == sorted(NAMES) and len(by(1)) > 2
    run()
    assert (folder / 'two.json').read_bytes() == (folder / 'out.json').read_bytes()


def test_parts_of_so_many_images_are_the_whole_together(run, folder):
    (folder / 'images' / 'd.png').write_bytes(b'')
    run(shard=2)
    names = [f'out-0000{number}-of-00003.json' for number in (1, 2, 3)]
    assert sorted(os.listdir(folder)) == sorted(['images', 'out.json', *names])
    whole, *parts = (read(folder / name) for name in ('out.json', *names))
    assert [len(part['images']) for part in parts] == [2, 1, 2]
    for key in ('images', 'annotations'):
        assert [each for part in parts for each in part[key]] == whole[key]
    assert all(part['categories'] == whole['categories'] for part in parts)
    (folder / 'out.json').unlink()
    with pytest.raises(FileExistsError, match='already .*out-00001-of-00003.json'):
        run(shard=2)


def test_unreadable_image_is_tried_again_by_the_run_that_goes_on(run, stopped, folder):
    whole = (folder / 'images' / 'c.jpg').read_bytes()
    (folder / 'images' / 'c.jpg').write_bytes(b'')
    stopped(5)
    (folder / 'images' / 'c.jpg').write_bytes(whole)
    assert run().unreadable == {}
    run('expected.json')
    assert (folder / 'out.json').read_bytes() == (folder / 'expected.json').read_bytes()


@pytest.mark.skipif(os.name != 'posix', reason='its file names are text')
@pytest.mark.parametrize('format', ['coco', 'labelme', 'yolo'])
def test_file_name_that_is_no_text_stops_nothing(run, folder, format):
    name = os.fsdecode(b'\xff.png')
    (folder / 'images' / 'd.png').rename(folder / 'images' / name)
    assert run(format=format, options=dict(ALL, points_per_side=1)).num_images == 6
    if format == 'coco':
        assert name in [image['file_name'] for image in read(folder / 'out.json')['images']]


def test_scores_are_a_limit_and_improbable_names_become_unknown(run, folder):
    run('all.json')
    known = read(folder / 'all.json')['annotations']
    thr = sorted(a['score'] for a in known)[len(known) // 2]
    done = run(score_thr=thr)
    assert done.num_objects == sum(a['score'] >= thr for a in known) < len(known)
    run(unknown_below=thr, overwrite=True)
    content, unknown = read(folder / 'out.json'), len(tiny.NAMES) + 1
    assert [c['name'] for c in content['categories']] == [*tiny.NAMES, 'unknown']
    for annotation, before in zip(content['annotations'], known, strict=True):
        expected = unknown if before['score'] < thr else before['category_id']
        assert annotation['category_id'] == expected and annotation['top_k'] == before['top_k']


def test_pictures_are_there_for_all_images_and_are_no_images(run, stopped, folder):
    show_dir = folder / 'images' / 'shown'  # a bad place, and it works
    stopped(3, show_dir=show_dir)
    assert run(show_dir=show_dir).num_images == run('next.json').num_images == 6
    found = sorted(path.relative_to(show_dir).as_posix() for path in show_dir.rglob('*.*g'))
    assert found == ['a/1.png.jpg', 'a/b/2.jpg', 'c.jpg', 'd.png.jpg', 'e.jpg', 'f.png.jpg']
    with Image.open(show_dir / 'c.jpg') as shown, Image.open(folder / 'images/c.jpg') as image:
        factor = shown.size[0] // image.size[0]
        assert factor > 1 and shown.size == tuple(factor * side for side in image.size)
        assert np.abs(np.subtract(shown, image.resize(shown.size), dtype=float)).mean() > 10


def test_model_without_names_calls_all_an_object_and_keeps_its_image(folder, picture):
    predictor = OVSAMPredictor(MODELS.build(tiny.SAM))
    predictor.set_image(picture)
    before = predictor.predict(box=[5, 5, 30, 30])
    out = folder / 'out.json'
    auto_label(predictor, folder / 'images', out, prompter_options=ALL, progress=False)
    content = read(out)
    assert [category['name'] for category in content['categories']] == ['object']
    assert content['annotations'] and all(a['top_k'] == [] for a in content['annotations'])
    assert np.array_equal(before.masks, predictor.predict(box=[5, 5, 30, 30]).masks)


@pytest.fixture
def proposals(folder):
    rows = [('c', [3, 4, 20, 15], 0.9), ('c', [0, 0, 25, 29], 0.3), ('2.jpg', [10, 5, 12, 13], 0.6)]
    entries = [dict(image_id=i, bbox=box, score=s, category_id=1) for i, box, s in rows]
    (folder / 'proposals.json').write_text(json.dumps(entries))
    return folder / 'proposals.json'


def test_proposals_are_answered_in_their_order(run, folder, model, proposals):
    run(prompter=proposals, options={})
    content = read(folder / 'out.json')
    ids = {image['file_name']: image['id'] for image in content['images']}
    places = [a['image_id'] for a in content['annotations']]
    assert len(ids) == 6 and places == [ids['a/b/2.jpg'], ids['c.jpg'], ids['c.jpg']]
    predictor = OVSAMPredictor(model)
    predictor.set_vocabulary(tiny.vocabulary())
    predictor.set_image(folder / 'images' / 'c.jpg')
    boxes = ([3, 4, 23, 19], [0, 0, 25, 29])
    for annotation, box, score in zip(content['annotations'][1:], boxes, (0.9, 0.3)):
        expected = predictor.predict(box=box)
        mask = coco_mask.decode(annotation['segmentation']).astype(bool)
        assert (mask != expected.masks[0]).mean() < 1e-3
        assert annotation['top_k'][0]['name'] == expected.names[0][0]
        together = np.sqrt(score * expected.name_scores[0, 0])
        assert annotation['score'] == pytest.approx(together, abs=1e-4)


def test_proposals_are_filtered_and_changed_ones_are_other_settings(run, stopped, proposals):
    filtered = dict(prompter=proposals, options=dict(filter=dict(score_thr=0.5)))
    stopped(2, **filtered)
    text = proposals.read_text()
    proposals.write_text(text.replace('0.9', '0.8'))
    with pytest.raises(ValueError, match='other settings: content was'):
        run(**filtered)
    proposals.write_text(text)
    assert run(**filtered).num_objects == 2


@pytest.mark.parametrize(
    'arguments, error, message',
    [
        (dict(score_thr=2), ValueError, 'score_thr must lie between 0 and 1, not 2'),
        (dict(unknown_below=-1), ValueError, 'unknown_below must lie between 0 and 1, not -1'),
        (dict(batch_size=0), ValueError, 'batch_size must be at least 1, not 0'),
        (dict(format='voc'), ValueError, "format is 'voc'"),
        (dict(format='yolo', polygons=True), ValueError, 'polygons are a choice of format coco'),
        (dict(label_config='a.xml'), ValueError, 'A label config is for format label_studio'),
        (dict(format='label_studio', label_config='a.xml'), FileNotFoundError, 'a.xml'),
        (dict(format='labelme', shard=5), ValueError, 'shards are a choice of format coco'),
        (dict(shard=0), ValueError, 'shard must be at least 1, not 0'),
        (dict(num_workers=0), ValueError, 'num_workers must be at least 1, not 0'),
        (dict(options=dict(points=3)), ValueError, 'has no points; it has points_per_side'),
        (dict(options=dict(points_per_side=0)), ValueError, 'points_per_side must be at least 1'),
        (dict(prompter='none.json', options={}), FileNotFoundError, 'no results file none.json'),
        (dict(prompter='p.json', options=dict(top=1)), ValueError, 'it has annotations, filter'),
        (dict(prompter='rtmdet_tiny', options=dict(a=1)), ValueError, 'it has checkpoint'),
        (dict(prompter='none.py', options={}), FileNotFoundError, 'no config none.py'),
    ],
)
def test_bad_argument_is_told_and_nothing_is_left_in_the_way(
    run, folder, arguments, error, message
):
    with pytest.raises(error, match=message):
        run(**arguments)
    left = set(os.listdir(folder)) - {'images'}
    assert left <= {'out.json.journal'}
    if left:  # an unfinished run without a record
        assert run().num_images == 6
