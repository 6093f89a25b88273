"""Which transforms let an image's pixels be where a stored feature has them."""

import pytest
from mmcv.transforms import LoadImageFromFile

from mmovsam.datasets.fixed_pipeline import fixed_pipeline, with_pipeline

LOAD = dict(type='LoadImageFromFile')
RESIZE = dict(type='ResizeLongestSide', size=96)
PACK = dict(type='PackDetInputs')


def leaf(*transforms):
    return dict(type='SA1BDataset', data_root='x', pipeline=list(transforms))


def test_transforms_that_do_not_move_pixels_are_left_out():
    color = [dict(type='PhotoMetricDistortion'), dict(type='mmdet.YOLOXHSVRandomAug')]
    notes = [dict(type='LoadAnnotations', with_bbox=True), dict(type='FilterAnnotations')]
    assert fixed_pipeline(leaf(LOAD, *notes, RESIZE, *color, PACK)) == [LOAD, RESIZE]


def test_ways_to_write_a_transform_are_one():
    written = dict(type='mmdet.Resize', scale=(96, 96), keep_ratio=True)
    loading = dict(type=LoadImageFromFile, backend_args=dict(backend='local'))
    expected = [LOAD, dict(type='Resize', scale=[96, 96], keep_ratio=True)]
    assert fixed_pipeline(leaf(loading, written)) == expected


@pytest.mark.parametrize(
    'transform',
    ['RandomFlip', 'RandomResize', 'RandomCrop', 'RandomAffine', 'Mosaic', 'CopyPaste', 'MyOwn'],
)
def test_what_moves_pixels_or_is_not_known_is_refused_by_its_name(transform):
    with pytest.raises(ValueError, match=f'{transform} moves pixels.*live teacher'):
        fixed_pipeline(leaf(LOAD, dict(type=transform), PACK))


def test_transforms_of_wrappers_count():
    mixed = dict(type='MultiImageMixDataset', dataset=leaf(LOAD), pipeline=[dict(type='Mosaic')])
    with pytest.raises(ValueError, match='Mosaic'):
        fixed_pipeline(dict(type='RepeatDataset', times=2, dataset=mixed))
    mixed['pipeline'] = [RESIZE]
    assert fixed_pipeline(mixed) == [LOAD, RESIZE]


def test_parts_with_unlike_transforms_are_refused():
    parts = [leaf(LOAD, RESIZE, PACK), leaf(LOAD, PACK)]
    with pytest.raises(ValueError, match='different places'):
        fixed_pipeline(dict(type='ConcatDataset', datasets=parts))
    assert fixed_pipeline(dict(type='ConcatDataset', datasets=parts[:1] * 2)) == [LOAD, RESIZE]


@pytest.mark.parametrize('transforms', [[], [RESIZE]])
def test_a_pipeline_that_loads_no_image_is_refused(transforms):
    with pytest.raises(ValueError, match='begins with'):
        fixed_pipeline(leaf(*transforms))


def test_pipelines_are_replaced_wherever_they_are():
    inner = dict(type='RepeatDataset', times=2, dataset=leaf(LOAD, RESIZE, PACK))
    mixed = dict(type='MultiImageMixDataset', dataset=inner, pipeline=[RESIZE])
    stored = dict(type='TeacherFeatureDataset', features='f', dataset=mixed)
    whole = dict(type='ConcatDataset', datasets=[stored, leaf(LOAD)])
    changed = with_pipeline(whole, [LOAD])
    mixed, plain = changed['datasets']
    assert mixed['type'] == 'MultiImageMixDataset' and mixed['pipeline'] == []
    assert mixed['dataset']['dataset']['pipeline'] == plain['pipeline'] == [LOAD]
    assert 'pipeline' not in mixed['dataset']
    assert inner['dataset']['pipeline'] == [LOAD, RESIZE, PACK]  # the config itself stays
