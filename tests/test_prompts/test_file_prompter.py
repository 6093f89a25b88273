"""Files of detection results, and prompts from them."""

import json

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData

from mmovsam.prompts import FilePrompter, PromptFilter
from mmovsam.prompts.result_files import read_results

CATEGORIES = [dict(id=18, name='dog'), dict(id=1, name='person'), dict(id=17, name='cat')]
NAN, INF = float('nan'), float('inf')


def entry(image_id=1, bbox=(1, 2, 3, 4), score=0.5, **more):
    return dict(image_id=image_id, bbox=list(bbox), score=score, **more)


def sample(img_id=None, img_path=None, **metainfo):
    return DetDataSample(metainfo=dict(img_id=img_id, img_path=img_path, **metainfo))


@pytest.fixture
def write(tmp_path):
    """Writes entries, or text, to a file."""

    def write_results(*entries):
        path = tmp_path / 'results.json'
        text = isinstance(entries[0], str) if entries else False
        path.write_text(entries[0] if text else json.dumps(entries))
        return path

    return write_results


@pytest.fixture
def results(write):
    """A prompter of entries."""
    return lambda *entries, **arguments: FilePrompter(write(*entries), **arguments)


# Files


def found(img_id, count):
    """What a detector finds in an image of 40x60 pixels, with masks, the best first."""
    generator = torch.Generator().manual_seed(img_id)
    corners, sides = torch.rand(2, count, 2, generator=generator) * 20
    sample = DetDataSample(metainfo=dict(img_id=img_id, ori_shape=(40, 60), scale_factor=(1, 1)))
    sample.pred_instances = InstanceData(
        bboxes=torch.cat((corners, corners + sides), dim=1),
        scores=torch.rand(count, generator=generator).sort(descending=True).values,
        labels=torch.arange(count) % 2,
        masks=torch.rand(count, 40, 60, generator=generator) > 0.5,
    )
    return sample


def test_what_mmdetection_writes_is_read_to_the_last_bit(tmp_path):
    samples = [found(7, 3), found(3, 0), found(5, 2)]
    content = dict(
        images=[dict(id=i, width=60, height=40, file_name=f'{i}.jpg') for i in (7, 3, 5)],
        annotations=[],
        categories=[dict(id=17, name='cat'), dict(id=18, name='dog')],
    )
    (tmp_path / 'annotations.json').write_text(json.dumps(content))
    metric = CocoMetric(
        ann_file=str(tmp_path / 'annotations.json'), metric=['bbox', 'segm'],
        format_only=True, outfile_prefix=str(tmp_path / 'results'),
    )  # fmt: skip
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = dict(classes=('cat', 'dog'))
    evaluator.process([sample.clone() for sample in samples], {})
    evaluator.evaluate(len(samples))
    table = read_results(tmp_path / 'results.bbox.json')
    assert set(table.images) == {7, 5}
    for each in samples[::2]:
        expected, rows = each.pred_instances, table.rows_of(each.img_id)
        assert np.array_equal(table.bboxes[rows], expected.bboxes)
        assert np.array_equal(table.scores[rows], expected.scores)
        assert np.array_equal(table.category_ids[rows], expected.labels + 17)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (['[{"image_id": 1, "bbox"'], 'results.json is truncated or not JSON'),
        (['\x01'], 'truncated or not JSON'),
        (['{"annotations": []}'], 'holds no list, expected a list of results'),
        ([json.dumps(entry())], 'holds no list'),
        ([entry(), dict(bbox=[1, 2, 3, 4], score=1)], 'entry 1 has no image_id'),
        ([entry(), 3], 'entry 1 has no image_id: 3'),
        ([entry(1.5)], 'entry 0 has image_id 1.5, expected an integer or text'),
        (['[{"image_id": 1, "score": 1, "score": 0}]'], 'json: an object has "score" twice'),
        ([entry(), entry(None)], 'entry 1 has image_id None, expected an integer or text'),
        ([entry(), entry(bbox=(1, 2, 3))], r'entry 1 has bbox \[1, 2, 3\], expected four numbers'),
        ([entry(bbox=(1, 2, 3, '4'))], "entry 0 has bbox .*'4'"),
        ([dict(image_id=1, bbox=[1, 2, 3, 4])], 'entry 0 has score None.*annotations have none'),
        ([entry(category_id='cat')], "entry 0 has category_id 'cat', expected an integer"),
        ([entry(bbox=(0.1, 0.2, 0.3, 0.4)), entry(bbox=(0, 0, 1, 1))], 'fractions of the image'),
        ([entry(score=95), entry(score=3.5)], 'between 0 and 95.*percent: divide by 100'),
        ([entry(score=-3.2), entry(score=0.5)], 'between -3.2 and 0.5.*logits: take the sigmoid'),
        ([entry(score=250)], 'logits'),
    ],
)
def test_wrong_results_are_refused_with_the_entry(write, content, message):
    with pytest.raises(ValueError, match=message):
        read_results(write(*content))


# Prompts


def test_each_image_gets_its_own_boxes_in_the_files_order_read_at_first_use(tmp_path, write):
    prompter = FilePrompter(tmp_path / 'results.json')
    with pytest.raises(FileNotFoundError, match='no results file .*results.json.*outfile_prefix'):
        prompter([sample(1)])
    path = write(
        entry('b', score=0.1),
        entry(9, score=0.2, segmentation=dict(size=[4, 4], counts='04')),
        entry('b', (5, 6, 1, 1.5), score=1.0000001, area=1.5),  # rounded up
    )
    for _ in range(2):
        two, one, nine = prompter([sample('b'), sample(1), sample(9)])
        path.unlink(missing_ok=True)
    assert two.bboxes.tolist() == [[1, 2, 4, 6], [5, 6, 6, 7.5]]
    assert two.scores.tolist() == pytest.approx([0.1, 1])
    assert two.labels is None and prompter.classes is None
    assert len(one) == 0 and nine.bboxes.tolist() == [[1, 2, 4, 6]]
    with pytest.raises(ValueError, match='needs img_id or img_path'):
        prompter([DetDataSample()])


@pytest.mark.parametrize('named_by', ['list', 'file'])
def test_boxes_are_cut_off_at_the_image_filtered_and_named(write, tmp_path, named_by):
    file = write(
        entry(7, (1, 2, 29, 38), 0.9, category_id=18.0),  # whole numbers may be written so
        entry(7, (5, 5, 4, 65), 0.4, category_id=1),
        entry(7.0, (70, 5, 20, 4), 0.3, category_id=17),
    )
    settings = dict(score_thr=0.05, max_per_img=3)
    categories = CATEGORIES
    if named_by == 'file':
        categories = str(tmp_path / 'annotations.json')
        (tmp_path / 'annotations.json').write_text(json.dumps(dict(categories=CATEGORIES)))
    prompter = MODELS.build(
        dict(type='FilePrompter', file=str(file), categories=categories, filter=settings)
    )
    (prompts,) = prompter([sample(7, ori_shape=(50, 60))])
    assert prompter.filter == PromptFilter(**settings)
    assert prompts.bboxes.tolist() == [[1, 2, 30, 40], [5, 5, 9, 50]]
    assert prompts.labels.tolist() == [2, 0] and prompter.classes == ('person', 'cat', 'dog')


@pytest.mark.parametrize(
    ('image_id', 'image', 'count'),
    [
        (5, sample(np.int64(5), 'val/6.jpg'), 1),
        ('val/5.jpg', sample(0, 'data/val/5.jpg'), 1),
        ('5.jpg', sample(0, 'data/val/5.jpg'), 1),
        ('5', sample(0, 'data/val/5.jpg'), 1),
        ('five', sample('five'), 1),
        # an id is never taken for a file name
        (5, sample(6, 'data/5.jpg'), 0),
        (5, sample('5'), 0),
        (5, sample(None, '5.jpg'), 0),
    ],
)
def test_images_are_found_by_id_or_by_file_name(results, image_id, image, count):
    assert len(results(entry(image_id))([image])[0]) == count


def test_bad_boxes_and_files_that_fit_no_image_for_long_are_told_once(results, logged):
    bad = [(NAN, 0, 1, 1), (0, 0, INF, 1), (0, 0, 0, 5), (0, 0, -1, 5), (3, 3, 5, -1)]
    prompter = results(entry(score=NAN), *(entry(bbox=b) for b in bad), entry(2, (0, 0, 1, 1)))
    for _ in range(2):
        one, two = prompter([sample(1), sample(2)])
        assert len(one) == 0 and two.bboxes.tolist() == [[0, 0, 1, 1]]
    prompter = results(entry('a.jpg'))
    prompter([sample(i, f'val/{i}.jpg') for i in range(19)])
    assert len(logged.messages) == 1
    prompter([sample(i, f'val/{i}.jpg') for i in range(19, 60)])
    dropped, unfit = logged.messages
    assert 'of 7 boxes 3 that are not finite and 3 without area are dropped' in dropped
    assert "none of the first 20 images: it knows images such as ['a.jpg']" in unfit


@pytest.mark.parametrize(
    ('boxes', 'message'),
    [
        ([(70, 5, 9, 9), (0, 50, 5, 5)], 'lie outside of it, of 60x50 pixels'),
        ([(5, 5, 58, 45), (30, 20, 40, 48)], 'reach out of their images, which as corners'),
    ],
)
def test_boxes_that_do_not_fit_an_image_are_told_once(results, logged, boxes, message):
    prompter = results(*(entry(i, box) for i in (1, 2) for box in boxes), entry(3))
    prompter([sample(i, ori_shape=(50, 60)) for i in (3, 1, 2)])
    (text,) = logged.messages
    assert f'boxes of 1 {message}' in text


@pytest.mark.parametrize('bad', [(0, 0, 0, 5), (8, 8, -3, -3), (NAN, 0, 1, 1)])
def test_a_file_of_boxes_without_area_is_refused(results, bad):
    with pytest.raises(ValueError, match='of 2 boxes .*none is left. The first is'):
        results(entry(bbox=bad), entry(2, bad))([sample(1)])


@pytest.mark.parametrize(
    ('bad', 'arguments', 'message'),
    [
        (entry(), dict(file='results.bin'), 'must be a .json file in the layout of COCO, got resu'),
        (entry(), dict(file='r.pkl'), r'r.pkl is a pickle.*test_evaluator.outfile_prefix=.*\.json'),
        (entry(category_id=3), {}, r'entry 1 has category_id 3 or none \(known: \[1, 17, 18\]'),
        (entry(), {}, 'entry 1 has category_id .* or none'),
        (entry(), dict(categories=[dict(name='cat')]), "must be a list of dict.*KeyError: 'id'"),
        (
            entry(),
            dict(categories=[dict(id=1, name='a'), dict(id='b', name='b')]),
            'categories must be a list .*TypeError',
        ),
    ],
)
def test_wrong_arguments_and_categories_without_labels_are_named(write, bad, arguments, message):
    given = dict(file=write(entry(category_id=18), bad), categories=CATEGORIES)
    with pytest.raises(ValueError, match=message):
        FilePrompter(**{**given, **arguments})([sample(1)])
    with pytest.raises(FileNotFoundError, match='no JSON file .*annotations.json'):
        FilePrompter(given['file'], categories='annotations.json')([sample(1)])
