"""Readers of untrusted files and requests, each with small valid inputs.

A reader takes bytes. It may reject them by its documented errors, `REFUSED`; other errors are
findings.
"""

import contextlib
import functools
import io
import json
import pickle
import sqlite3
import struct
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import mmovsam  # noqa: F401

import numpy as np
import torch
from mmdet.registry import DATASETS, METRICS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from pycocotools import mask as coco_mask
from safetensors.torch import save

from mmovsam.apis import OVSAMPredictor
from mmovsam.apis.auto_labeling.proposals import match_images
from mmovsam.apis.image_input import read_image, read_sent_image
from mmovsam.checkpoints import load_checkpoint_file, state_dict_of
from mmovsam.checkpoints.torchscript import read_torchscript
from mmovsam.datasets import annotations
from mmovsam.datasets.images import check_image
from mmovsam.downloads import DownloadError
from mmovsam.export import ONNXModel
from mmovsam.export.vocabulary import VocabularyArrays
from mmovsam.label_studio import BackendApp, ImageSource, LabelStudioBackend
from mmovsam.prompts.result_files import read_results
from mmovsam.teacher_features import FeatureStore
from mmovsam.teacher_features.shard import Record, Shard
from mmovsam.vocabulary import Vocabulary, load_classifier

REFUSED = (ValueError, FileNotFoundError, DownloadError, ImportError)
_CONFIG = Path(__file__).parents[2] / 'configs/mini/ovsam_mini_boxes.py'


class Finding(Exception):
    """A reader accepted invalid input, or failed otherwise."""


class Reader(NamedTuple):
    """A function that reads untrusted bytes, and its seeds."""

    read: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    is_json: bool = False


@functools.cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix='fuzz')
    _folder.reference = folder  # until the process ends
    return Path(folder.name)


def _file(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def _json(content) -> bytes:
    return json.dumps(content).encode()


# Checkpoints


def read_checkpoint(data: bytes) -> None:
    """A file of `torch.save`."""
    state_dict_of(load_checkpoint_file(_file('weights.pth', data)))


def _checkpoints() -> list[bytes]:
    seeds = []
    for zipped in (True, False):
        stream = io.BytesIO()
        content = dict(state_dict=dict(a=torch.ones(2, 2)), meta=dict(epoch=1))
        torch.save(content, stream, _use_new_zipfile_serialization=zipped)
        seeds.append(stream.getvalue())
    return seeds


def _archive(pickled: bytes, **records: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as archive:
        archive.writestr('archive/data.pkl', pickled)
        archive.writestr('archive/version', '3\n')
        archive.writestr('archive/byteorder', 'little')
        for number in range(2):
            archive.writestr(f'archive/data/{number}', bytes(16))
        for name, content in records.items():
            archive.writestr(f'archive/{name}', content)
    return stream.getvalue()


def read_checkpoint_pickle(data: bytes) -> None:
    """The pickle of such a file, in a valid zip file."""
    read_checkpoint(_archive(data))


def _pickles() -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(_checkpoints()[0])) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith('data.pkl'))
        array = pickle.dumps(dict(message_hub=dict(a=np.float64(1), b=np.arange(3.0))), 2)
        return [archive.read(name), array]


def read_torchscript_pickle(data: bytes) -> None:
    """The pickle of a TorchScript archive."""
    read_torchscript(_file('script.pt', _archive(data, **{'constants.pkl': b'\x80\x02).'})))


def _script_pickles() -> list[bytes]:
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2))
    stream = io.BytesIO()
    torch.jit.save(module, stream)
    with zipfile.ZipFile(stream) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith('/data.pkl'))
        return [archive.read(name)]


def read_safetensors_header(data: bytes) -> None:
    """The header of a safetensors file, of int8 weights and text classifiers, too."""
    size = 64
    with contextlib.suppress(Exception):  # files of another size are rejected at once
        ends = (e['data_offsets'][1] for e in json.loads(data).values() if 'dtype' in e)
        size = int(min(max(ends), 10**5))
    content = struct.pack('<Q', len(data)) + data + bytes(size)
    path = _file('weights.safetensors', content)
    with contextlib.suppress(*REFUSED):
        load_classifier(path)
    state_dict_of(load_checkpoint_file(path))


def _safetensors() -> list[bytes]:
    def header(tensors, **notes):
        data = save(tensors, notes)
        return data[8 : 8 + struct.unpack('<Q', data[:8])[0]]

    weight = dict(w=torch.zeros(4, 4, dtype=torch.int8))
    classifier = dict(embeddings=torch.ones(2, 1, 4))
    packed = {'embeddings.q4': torch.zeros(2, 2, dtype=torch.uint8)}
    return [
        header({**weight, 'w.scales': torch.ones(4)}),
        header(classifier, names='["a", "b"]', novel='[true, null]'),
        header({**packed, 'embeddings.scales': torch.ones(2, 1).half()}, counts='[1, 1]'),
    ]


# Features


@functools.cache
def _predictor() -> OVSAMPredictor:
    init_default_scope('mmdet')
    torch.set_num_threads(1)
    return OVSAMPredictor(MODELS.build(Config.fromfile(_CONFIG).model).eval(), cache_size=0)


def read_features(data: bytes) -> None:
    """The header of a file of image features."""
    head, _, tensors = _features_file()
    path = _file('features.safetensors', struct.pack('<Q', len(data)) + data + tensors)
    _predictor().load_features(path)


@functools.cache
def _features_file() -> tuple[bytes, bytes, bytes]:
    predictor = _predictor()
    predictor.set_image(np.zeros((8, 8, 3), np.uint8))
    path = _folder() / 'seed.safetensors'
    predictor.save_features(path)
    data = path.read_bytes()
    end = 8 + struct.unpack('<Q', data[:8])[0]
    return data[:8], data[8:end], data[end:]


def read_shard(data: bytes) -> None:
    """A shard of a store of teacher features."""
    with Shard(_file('shard.sqlite', data)) as shard:
        for image_id in shard.ids():
            shard.read(image_id)


def _shards() -> list[bytes]:
    path = _folder() / 'seed.sqlite'
    path.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as small:  # pages of 512 bytes, not of 64 KiB
        small.execute('PRAGMA page_size = 512')
        small.execute(
            'CREATE TABLE features (id NOT NULL UNIQUE, image_checksum INTEGER NOT NULL, '
            'checksum INTEGER NOT NULL, data BLOB NOT NULL)'
        )
    with Shard(path, writable=True) as shard:
        shard.write([Record(1, 5, b'abc'), Record('a', 6, bytes(600))])
    return [path.read_bytes()]


def read_store(data: bytes) -> None:
    """The metadata of a store."""
    store = FeatureStore(_file('store/store.json', data).parent)
    with contextlib.suppress(KeyError):
        store.read(1)
    store.missing([1, 'a'])
    store.require(dtype='float16')
    _ = store.pos_embed


def _stores() -> list[bytes]:
    meta = dict(dtype='int8', shape=[4, 2, 2], teacher='a', image_size=8)
    with tempfile.TemporaryDirectory() as folder:
        FeatureStore.create(folder, meta, torch.ones(1, 2, 2, 4), 3)
        return [Path(folder, 'store.json').read_bytes()]


# Annotations and results


def read_results_json(data: bytes) -> None:
    """Proposals or results of a detector."""
    read_results(_file('results.json', data))


def _results() -> list[bytes]:
    entry = dict(image_id=1, bbox=[1, 2, 30, 40], score=0.5, category_id=1)
    return [_json([entry, dict(entry, image_id='b.png')])]


_DETECTIONS = (
    1,
    np.array([0, 1]),
    np.array([0.9, 0.8]),
    np.array([[1, 1, 5, 5], [0, 0, 8, 9]], float),
    {(9, 8)},
    [coco_mask.encode(np.eye(9, 8, k=k, dtype=np.uint8, order='F'))['counts'] for k in (0, 1)],
)


def read_annotations(data: bytes) -> None:
    """An annotation file of COCO or LVIS, for data sets and metrics."""
    path = _file('annotations.json', data)
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(path.with_name('a.png'))
    for kind in ('CocoJsonDataset', 'OVLVISDataset'):
        with contextlib.suppress(*REFUSED):
            config = dict(type=kind, data_root=str(path.parent), ann_file=path.name, pipeline=[])
            dataset = DATASETS.build(dict(config, data_prefix=dict(img='')))
            for index in range(len(dataset)):
                dataset[index]
    for kind in ('OpenVocabCocoMetric', 'OpenVocabLVISMetric'):
        with contextlib.suppress(*REFUSED):
            metric = METRICS.build(dict(type=kind, ann_file=str(path)))
            metric.dataset_meta = dict(classes=('a', 'b'))
            metric.compute_metrics([_DETECTIONS])
    with contextlib.suppress(*REFUSED):
        match_images([1, 'b'], ['b.png'], path, path)
    Vocabulary.from_file(path)


def _annotations() -> list[bytes]:
    runs = dict(size=[9, 8], counts=coco_mask.encode(np.eye(9, 8, dtype=np.uint8, order='F')))
    runs['counts'] = runs['counts']['counts'].decode()
    entry = dict(image_id=1, bbox=[1, 1, 5, 5], area=25, iscrowd=0)
    image = dict(width=8, height=9, neg_category_ids=[2], not_exhaustive_category_ids=[])
    return [
        _json(
            dict(
                images=[dict(image, id=1, file_name='a.png')],
                annotations=[
                    dict(entry, id=1, category_id=1, segmentation=[[1, 1, 6, 1, 6, 6]]),
                    dict(entry, id=2, category_id=2, segmentation=runs),
                ],
                categories=[
                    dict(id=1, name='a', frequency='f', synonyms=['a', 'c']),
                    dict(id=2, name='b', frequency='r', synonyms=['b']),
                ],
            )
        )
    ]


def read_run_lengths(data: bytes) -> None:
    """RLEs, which are decoded to the right size unless they are rejected."""
    segmentation = json.loads(data)
    if not isinstance(segmentation, dict):
        raise ValueError('no request')
    height, width = annotations.image_size(segmentation, 'it')
    if max(height, width) > 1000 or height % 1 or width % 1:
        raise ValueError('no request')
    rle = annotations.segmentation(dict(segmentation=segmentation.get('mask')), 'it', height, width)
    if isinstance(rle, dict):
        if isinstance(rle['counts'], list):
            rle = coco_mask.frPyObjects(rle, height, width)
        mask = coco_mask.decode(rle)
        if mask.shape != (height, width) or mask.max() > 1:
            raise Finding(f'{segmentation} is decoded to {mask.shape}, up to {mask.max()}')


def _run_lengths() -> list[bytes]:
    counts = coco_mask.encode(np.eye(9, 8, dtype=np.uint8, order='F'))['counts'].decode()
    return [
        _json(dict(height=9, width=8, mask=dict(size=[9, 8], counts=value)))
        for value in (counts, [3, 5, 64], '0')
    ]


# Images


def read_image_bytes(data: bytes) -> None:
    """An image file, for all functions that read one."""
    with contextlib.suppress(*REFUSED):
        read_sent_image(data, 'it', 10**6)
    with contextlib.suppress(*REFUSED):
        check_image(str(_file('image.png', data)))
    read_image(data)


def _images() -> list[bytes]:
    seeds = []
    picture = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ('PNG', 'JPEG', 'GIF', 'BMP', 'TIFF', 'WEBP'):
        stream = io.BytesIO()
        picture.save(stream, kind, **({} if kind in ('GIF', 'BMP') else dict(exif=exif)))
        seeds.append(stream.getvalue())
    deep = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(deep, 'PNG')
    return [*seeds, deep.getvalue()]


# Names


def read_vocabulary(data: bytes) -> None:
    """A file of names as text, JSON and YAML."""
    for suffix in ('txt', 'yaml'):
        with contextlib.suppress(*REFUSED):
            Vocabulary.from_file(_file(f'names.{suffix}', data))


def _vocabularies() -> list[bytes]:
    text = 'cat, kitty\ndog\ta photo of a {}\n\n\u00e4\n'
    return [
        *(text.encode(encoding) for encoding in ('utf-8-sig', 'utf-16', 'utf-32', 'cp1252')),
        b'names:\n  0: cat\n  1: dog\n',
        _json(['cat', 'dog']),
    ]


# Exports


def read_onnx_folder(data: bytes) -> None:
    """The settings of an export with damaged graphs."""
    folder = _file('onnx/model.json', data).parent
    (folder / 'encoder.onnx').write_bytes(data[:40])
    np.savez(folder / 'names.npz', **_vocabulary_arrays())
    ONNXModel(folder)


def _onnx_folders() -> list[bytes]:
    parts = dict(encoder='encoder.onnx', decoder='encoder.onnx')
    outputs = dict(inputs=['image'], outputs=['embedding'])
    return [
        _json(
            dict(
                format='mmovsam ONNX, version 1',
                files=dict(float32=parts),
                encoder=outputs,
                decoder=outputs,
                vocabulary='names.npz',
            )
        )
    ]


def read_onnx_vocabulary(data: bytes) -> None:
    """The vocabulary of an export."""
    VocabularyArrays.load(_file('vocabulary.npz', data))


def _vocabulary_arrays() -> dict:
    return dict(
        text_embeddings=np.ones((2, 4), np.float32),
        name_index=np.array([[0, 1]]),
        novel=np.zeros(1, np.int64),
        names=np.array(['a']),
    )


def _onnx_vocabularies() -> list[bytes]:
    stream = io.BytesIO()
    np.savez(stream, **_vocabulary_arrays())
    return [stream.getvalue()]


# Requests


@functools.cache
def _backend() -> BackendApp:
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(_folder() / 'a.png')
    images = ImageSource(data_root=_folder(), max_pixels=10**6)
    return BackendApp(LabelStudioBackend(_predictor(), images))


def ask_backend(data: bytes) -> None:
    """A request of Label Studio: any response but an internal error is valid."""
    environ = {
        'REQUEST_METHOD': 'POST',
        'PATH_INFO': '/predict',
        'CONTENT_LENGTH': str(len(data)),
        'wsgi.input': io.BytesIO(data),
    }
    statuses = []
    body = b''.join(_backend()(environ, lambda status, headers: statuses.append(status)))
    json.loads(body)
    if statuses[0].startswith('500'):
        raise Finding(f'{statuses[0]}: {data[:300]!r}')


def _requests() -> list[bytes]:
    config = (
        '<View><Image name="image" value="$image"/><BrushLabels name="label" toName="image">'
        '<Label value="cat" predicted_values="kitty"/><Label value="dog"/></BrushLabels></View>'
    )
    region = dict(to_name='image', original_width=8, original_height=9, image_rotation=0)
    point = dict(region, type='keypointlabels', is_positive=True)
    box = dict(region, type='rectanglelabels')
    return [
        _json(
            dict(
                label_config=config,
                tasks=[dict(id=1, data=dict(image='/data/local-files/?d=a.png'))],
                params=dict(context=dict(result=[dict(region, value=value)])),
            )
        )
        for region, value in (
            (point, dict(x=40.0, y=50.0, width=0.3, keypointlabels=['cat'])),
            (box, dict(x=10, y=10, width=50, height=50, rotation=20, rectanglelabels=['cat'])),
        )
    ]


def ask_server(data: bytes) -> None:
    """A prompt of a client of the server."""
    client, headers = _client()
    response = client.post('/prompt', content=data, headers=headers)
    if response.status_code != 200:
        assert response.status_code in (400, 422), response.text
        raise ValueError(response.json()['error'])


@functools.cache
def _client():
    from fastapi.testclient import TestClient

    from mmovsam.apis.name_encoder import NameEncoder
    from mmovsam.server import Served, make_app

    predictor = _predictor()
    client = TestClient(make_app(Served(predictor, NameEncoder(predictor.classifier, None))))
    headers = dict(Authorization=f'Bearer {client.post("/sessions").json()["token"]}')
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(stream, 'PNG')
    client.put('/image', content=stream.getvalue(), headers=headers)
    return client, {**headers, 'Content-Type': 'application/json'}


def _prompts() -> list[bytes]:
    points = dict(point_coords=[[1, 2], [5, 6]], point_labels=[1, 0])
    mask = dict(size=[8, 8], counts='0h0')
    return [_json(dict(prompts=[prompt])) for prompt in (points, dict(box=[1, 1, 6, 7], mask=mask))]


READERS = dict(
    checkpoint=Reader(read_checkpoint, _checkpoints),
    checkpoint_pickle=Reader(read_checkpoint_pickle, _pickles),
    torchscript=Reader(read_torchscript_pickle, _script_pickles),
    safetensors=Reader(read_safetensors_header, _safetensors, is_json=True),
    features=Reader(read_features, lambda: [_features_file()[1]], is_json=True),
    shard=Reader(read_shard, _shards),
    store=Reader(read_store, _stores, is_json=True),
    results=Reader(read_results_json, _results, is_json=True),
    annotations=Reader(read_annotations, _annotations, is_json=True),
    run_lengths=Reader(read_run_lengths, _run_lengths, is_json=True),
    image=Reader(read_image_bytes, _images),
    vocabulary=Reader(read_vocabulary, _vocabularies),
    onnx_folder=Reader(read_onnx_folder, _onnx_folders, is_json=True),
    onnx_vocabulary=Reader(read_onnx_vocabulary, _onnx_vocabularies),
    label_studio=Reader(ask_backend, _requests, is_json=True),
    server=Reader(ask_server, _prompts, is_json=True),
)
