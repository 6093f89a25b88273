"""Exports of others: damaged settings, graphs and vocabularies are refused by name."""

import json

import numpy as np
import pytest
import tiny

from mmovsam.export import ONNXModel, VocabularyArrays

GRAPH = dict(inputs=['image'], outputs=['embedding'])
SETTINGS = dict(
    format='mmovsam ONNX, version 1',
    files=dict(float32=dict(encoder='encoder.onnx', decoder='decoder.onnx')),
    encoder=GRAPH,
    decoder=GRAPH,
)


@pytest.mark.parametrize(
    'content, error, message',
    [
        (None, FileNotFoundError, 'There is no export'),
        ('{', ValueError, 'is damaged'),
        ('{"format": "other"}', ValueError, 'is not of the format'),
        (SETTINGS, FileNotFoundError, 'lacks .*encoder.onnx'),
        *(
            ({**SETTINGS, **change}, ValueError, 'model.json lacks settings or has wrong ones')
            for change in (
                dict(files=dict(float32='encoder.onnx')),
                dict(files=dict(float32=dict(encoder='x' * 256, decoder='decoder.onnx'))),
                dict(files=dict(float32=dict(encoder='encoder.onnx'))),
                dict(files=dict(float32=dict(encoder='../encoder.onnx', decoder='decoder.onnx'))),
                dict(vocabulary=[]),
                dict(vocabulary='/etc/names.npz'),
                dict(decoder=dict(inputs=[])),
            )
        ),
    ],
)
def test_folders_without_a_whole_export_are_refused(tmp_path, content, error, message):
    if content is not None:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / 'model.json').write_text(text)
    with pytest.raises(error, match=message):
        ONNXModel(tmp_path)


def test_what_onnxruntime_cannot_compute_with_is_refused(exported, tmp_path):
    (tmp_path / 'model.json').write_text(json.dumps(SETTINGS))
    (tmp_path / 'encoder.onnx').write_bytes(b'no graph at all')
    with pytest.raises(ValueError, match='encoder.onnx is no graph'):
        ONNXModel(tmp_path)
    with pytest.raises(ValueError, match='no NoSuchProvider: it has .*CPUExecutionProvider'):
        ONNXModel(exported.folder, providers=['NoSuchProvider'])
    with pytest.raises(ValueError, match=r"no weights in 'int4', it has \['float32', 'int8'\]"):
        ONNXModel(exported.folder, 'int4')


@pytest.mark.parametrize(
    'change',
    [
        *(dict(name_index=np.array([[i]] * len(tiny.NAMES))) for i in (99, -1)),
        dict(novel=np.zeros(1, np.int64)),
        dict(names=np.arange(len(tiny.NAMES))),
        dict(text_embeddings=np.zeros((0, 4), np.float32)),
        dict(more=np.zeros(1)),
    ],
)
def test_vocabulary_whose_arrays_do_not_belong_together_is_refused(tmp_path, change):
    arrays = vars(VocabularyArrays.from_classifier(tiny.vocabulary()))
    np.savez(tmp_path / 'a.npz', **{**arrays, **change})
    with pytest.raises(ValueError, match='a.npz is no vocabulary of an export'):
        VocabularyArrays.load(tmp_path / 'a.npz')
