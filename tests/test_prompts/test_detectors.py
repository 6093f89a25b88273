import mmdet
import pytest
import torch
from mmengine.config import ConfigDict

from mmovsam.prompts.detectors import (
    checkpoint_classes,
    config_classes,
    detector_config,
    given_classes,
    inference_pipeline,
)

LOAD = dict(type='LoadImageFromFile')
PACK = dict(type='PackDetInputs')
COCO = mmdet.datasets.CocoDataset.METAINFO['classes']


def test_name_and_alias_of_the_index_give_config_and_weights_and_others_are_told():
    for name in ('rtmdet_tiny_8xb32-300e_coco', 'RTMDet-T'):
        config, checkpoint = detector_config(name)
        assert config.model.type == 'RTMDet'
        assert config.model.neck.out_channels == 96  # the tiny one
        assert checkpoint.endswith('rtmdet_tiny_8xb32-300e_coco_20220902_112414-78e30dcc.pth')
        assert config_classes(config) == COCO
    for name, hint in (
        ('rtmdet_tiny_8xb32_300e_coco', 'did you mean rtmdet_tiny_8xb32-300e_coco'),
        ('?', "its names are those of MMDetection's configs"),
    ):
        with pytest.raises(ValueError, match=f'(?s)has no model .* in its index.*{hint}'):
            detector_config(name)


def whole(*steps):
    return ConfigDict(test_dataloader=dict(dataset=dict(dataset=dict(pipeline=list(steps)))))


def test_loader_keeps_its_settings_and_annotations_stay_out():
    load = dict(LOAD, to_float32=True, imdecode_backend='pillow', color_type='grayscale')
    annotations = [dict(type='LoadAnnotations'), dict(type='mmdet.LoadPanopticAnnotations')]
    loader, pack = inference_pipeline(whole(load, *annotations, PACK)).transforms
    for part in (loader.from_file, loader.from_ndarray):
        assert part.to_float32 and part.imdecode_backend == 'pillow'
        assert part.color_type == 'grayscale'
    assert 'ori_shape' in pack.meta_keys  # in any case
    *_, pack = inference_pipeline(whole(LOAD, dict(PACK, meta_keys=['img_shape']))).transforms
    assert pack.meta_keys == ('img_shape', 'ori_shape')


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (ConfigDict(test_dataloader=None), 'no test pipeline'),
        (ConfigDict(test_dataloader=dict(dataset=dict(type='X'))), 'no test pipeline'),
        (whole(LOAD, dict(type='LoadProposals'), PACK), 'starts from proposals of another'),
    ],
)
def test_pipeline_that_an_image_is_not_enough_for_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        inference_pipeline(config)


@pytest.mark.parametrize(
    ('checkpoint', 'names'),
    [
        (dict(meta=dict(dataset_meta=dict(classes=['a', 'b']))), ('a', 'b')),
        (dict(meta=dict(dataset_meta=dict(CLASSES=('a', 'b'), PALETTE=[]))), ('a', 'b')),
        (dict(meta=dict(CLASSES=('a', 'b'), epoch=12)), ('a', 'b')),
        (dict(meta=dict(dataset_meta={})), None),
        (dict(meta=dict(classes='person')), None),
        (dict(meta={'format': 'pt'}), None),
        (dict(state_dict={}), None),
        (torch.zeros(3), None),
    ],
)
def test_class_names_of_a_checkpoint_of_any_age(checkpoint, names):
    assert checkpoint_classes(checkpoint) == names


NAMED = dict(type='CocoDataset', metainfo=dict(classes=['a', 'b']))


@pytest.mark.parametrize(
    ('test', 'validation', 'names'),
    [
        (NAMED, None, ('a', 'b')),
        (dict(type='CocoDataset'), NAMED, COCO),
        (dict(type='mmdet.CocoDataset', metainfo=dict(palette=[])), None, COCO),
        (dict(type=mmdet.datasets.CocoDataset), None, COCO),
        (dict(type='RepeatDataset', dataset=NAMED), None, ('a', 'b')),
        (dict(type='ConcatDataset', datasets=[dict(type='NoSuch'), NAMED]), None, ('a', 'b')),
        (dict(type='CocoJsonDataset'), NAMED, ('a', 'b')),
        (dict(type='CocoJsonDataset'), None, None),
        (None, None, None),
    ],
)
def test_class_names_of_a_config_are_those_of_its_data(test, validation, names):
    loaders = dict(test_dataloader=test, val_dataloader=validation)
    config = {key: value and dict(dataset=value) for key, value in loaders.items()}
    assert config_classes(ConfigDict(config)) == names


@pytest.mark.parametrize(
    ('classes', 'error', 'message'),
    [
        (['cat', 3], ValueError, r'classes must be names .* got \[3\]'),
        ([], ValueError, r'classes must be names .* got \[\]'),
        ('absent.txt', FileNotFoundError, r'absent\.txt'),
    ],
)
def test_classes_are_names_or_a_file_of_them(tmp_path, classes, error, message):
    path = tmp_path / 'names.txt'
    path.write_text('cat\n\n hot dog \n')
    assert given_classes(str(path)) == given_classes(path) == ('cat', 'hot dog')
    with pytest.raises(error, match=message):
        given_classes(classes)
