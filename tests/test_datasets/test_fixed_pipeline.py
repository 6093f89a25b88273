"""Which transforms let an image's pixels be where a stored feature has them."""

import pytest
from mmcv.transforms import LoadImageFromFile

from mmovsam.datasets.fixed_pipeline import fixed_pipeline, with_pipeline

LOAD = dict(type='LoadImageFromFile')
RESIZE = dict(type='ResizeLongestSide', size=96)
PACK = dict(type='PackDetInputs')


def leaf(*transforms):
    return dict(type='SA1BDataset', data_root='x', pipeline=list(transforms))


def wrapped(steps, inner=(LOAD,)):
    mixed = dict(type='MultiImageMixDataset', dataset=leaf(*inner), pipeline=steps)
    return dict(type='RepeatDataset', times=2, dataset=mixed)


def joined(*parts):
    return dict(type='ConcatDataset', datasets=list(parts))


def test_transforms_that_do_not_move_pixels_are_left_out():
    color = [dict(type='PhotoMetricDistortion'), dict(type='mmdet.YOLOXHSVRandomAug')]
    notes = [dict(type='LoadAnnotations', with_bbox=True), dict(type='FilterAnnotations')]
    assert fixed_pipeline(leaf(LOAD, *notes, RESIZE, *color, PACK)) == [LOAD, RESIZE]
    # a type may be a class or have a scope; wrappers count
    written = dict(type='mmdet.Resize', scale=(96, 96), keep_ratio=True)
    loading = dict(type=LoadImageFromFile, backend_args=dict(backend='local'))
    expected = [LOAD, dict(type='Resize', scale=[96, 96], keep_ratio=True)]
    assert fixed_pipeline(leaf(loading, written)) == expected
    assert fixed_pipeline(wrapped([RESIZE])) == [LOAD, RESIZE]
    assert fixed_pipeline(joined(*[leaf(LOAD, RESIZE, PACK)] * 2)) == [LOAD, RESIZE]


@pytest.mark.parametrize(
    'dataset, message',
    [
        *(
            (leaf(LOAD, dict(type=kind)), f'{kind} moves pixels.*live teacher')
            for kind in ('RandomFlip', 'RandomResize', 'Mosaic', 'MyOwn')
        ),
        (wrapped([dict(type='Mosaic')]), 'Mosaic'),
        (joined(leaf(LOAD, RESIZE, PACK), leaf(LOAD, PACK)), 'different places'),
        (leaf(), 'begins with'),
        (leaf(RESIZE), 'begins with'),
    ],
)
def test_what_moves_pixels_or_is_not_known_is_refused(dataset, message):
    with pytest.raises(ValueError, match=message):
        fixed_pipeline(dataset)


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
