import json

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData

from mmovsam.prompts.result_files import NO_CATEGORY, read_results


def found(img_id, count, seed=0):
    """What a detector finds in an image of 40x60 pixels, with masks, the best first."""
    generator = torch.Generator().manual_seed(seed + img_id)
    corners = torch.rand(count, 2, generator=generator) * 20
    sides = torch.rand(count, 2, generator=generator) * 20
    sample = DetDataSample(
        metainfo=dict(
            img_id=img_id,
            img_path=f'data/val/{img_id:012d}.jpg',
            ori_shape=(40, 60),
            scale_factor=(1.5, 1.5),
        )
    )
    sample.pred_instances = InstanceData(
        bboxes=torch.cat((corners, corners + sides), dim=1),
        scores=torch.rand(count, generator=generator).sort(descending=True).values,
        labels=torch.arange(count) % 2,
        masks=torch.rand(count, 40, 60, generator=generator) > 0.5,
    )
    return sample


def evaluated(metric, samples):
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = dict(classes=('cat', 'dog'))
    evaluator.process(samples, {})
    evaluator.evaluate(len(samples))


def annotation_file(path, img_ids):
    content = dict(
        images=[dict(id=i, width=60, height=40, file_name=f'{i:012d}.jpg') for i in img_ids],
        annotations=[],
        categories=[dict(id=17, name='cat'), dict(id=18, name='dog')],
    )
    path.write_text(json.dumps(content))
    return str(path)


def write_results(tmp_path, samples):
    """Results by MMDetection's writer."""
    ids = [sample.img_id for sample in samples]
    coco = CocoMetric(
        ann_file=annotation_file(tmp_path / 'annotations.json', ids),
        metric=['bbox', 'segm'],
        format_only=True,
        outfile_prefix=str(tmp_path / 'results'),
    )
    evaluated(coco, samples)


def test_what_mmdetection_writes_is_read_to_the_last_bit(tmp_path):
    samples = [found(7, 3), found(3, 0), found(5, 2)]
    write_results(tmp_path, [sample.clone() for sample in samples])
    table = read_results(tmp_path / 'results.bbox.json')
    assert set(table.images) == {7, 5}
    for sample in samples[::2]:
        expected = sample.pred_instances
        rows = table.rows_of(sample.img_id)
        assert np.array_equal(table.bboxes[rows], expected.bboxes)
        assert np.array_equal(table.scores[rows], expected.scores)
        assert np.array_equal(table.category_ids[rows], expected.labels + 17)


def results_file(tmp_path, content):
    path = tmp_path / 'results.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def entry(image_id=1, bbox=(1, 2, 3, 4), score=0.5, **more):
    return dict(image_id=image_id, bbox=list(bbox), score=score, **more)


def test_boxes_of_an_image_need_not_stand_together(tmp_path):
    entries = [
        entry('b', score=0.1, category_id=4),
        entry(9, score=0.2, segmentation=dict(size=[4, 4], counts='04')),
        entry('b', (5, 6, 1, 1.5), score=0.9, area=1.5),
    ]
    table = read_results(results_file(tmp_path, entries))
    assert (table.rows_of('b'), table.rows_of(9)) == (slice(0, 2), slice(2, 3))
    assert table.bboxes.tolist() == [[1, 2, 4, 6], [5, 6, 6, 7.5], [1, 2, 4, 6]]
    assert table.scores.tolist() == pytest.approx([0.1, 0.9, 0.2])
    assert table.category_ids.tolist() == [4, NO_CATEGORY, NO_CATEGORY]
    assert table.entries.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('[{"image_id": 1, "bbox"', 'results.json is truncated or not JSON'),
        ('\x01', 'truncated or not JSON'),
        (dict(annotations=[]), 'holds no list, expected a list of results'),
        (entry(), 'holds no list'),
        ([entry(), dict(bbox=[1, 2, 3, 4], score=1)], 'entry 1 has no image_id'),
        ([entry(), 3], 'entry 1 has no image_id: 3'),
        ([entry(), entry(None)], 'entry 1 has image_id None, expected an integer or text'),
        ([entry(), entry(bbox=(1, 2, 3))], r'entry 1 has bbox \[1, 2, 3\], expected four numbers'),
        ([entry(bbox=(1, 2, 3, '4'))], "entry 0 has bbox .*'4'"),
        ([dict(image_id=1, bbox=[1, 2, 3, 4])], 'entry 0 has score None.*annotations have none'),
        ([entry(category_id='cat')], "entry 0 has category_id 'cat', expected an integer"),
    ],
)
def test_wrong_json_is_refused_with_the_entry(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_results(results_file(tmp_path, content))


def test_missing_file_is_named_with_the_way_to_write_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no results file .*absent\.json.*outfile_prefix'):
        read_results(tmp_path / 'absent.json')


@pytest.mark.parametrize(
    'entries, message',
    [
        ([entry(bbox=(0.1, 0.2, 0.3, 0.4)), entry(bbox=(0, 0, 1, 1))], 'fractions of the image'),
        (
            [entry(score=95), entry(score=3.5)],
            'scores lie between 0 and 95.*percent: divide by 100',
        ),
        ([entry(score=-3.2), entry(score=0.5)], 'between -3.2 and 0.5.*logits: take the sigmoid'),
        ([entry(score=250)], 'logits'),
    ],
)
def test_other_units_are_named(tmp_path, entries, message):
    path = tmp_path / 'results.json'
    path.write_text(json.dumps(entries))
    with pytest.raises(ValueError, match=rf'results\.json: .*{message}'):
        read_results(path)
