"""Images in, results out: against `model.test_step`, the predictor, and what lies on the disk."""

import functools
import http.server
import io
import json
import os
import re
import threading
from pathlib import Path

import mmcv
import numpy as np
import pytest
import tiny
import torch
from mmdet.apis import DetInferencer
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.fileio import register_backend
from mmengine.fileio.backends import LocalBackend
from mmengine.logging import MMLogger
from PIL import Image
from pycocotools import mask as coco_mask
from small_predictor import BOX, build

from mmovsam.apis import OVSAMInferencer, OVSAMPredictor
from mmovsam.apis.auto_labeling.image_list import list_images
from mmovsam.apis.input_list import list_inputs
from mmovsam.checkpoints import save_safetensors
from mmovsam.datasets.mini_world import draw_scene
from mmovsam.prompts import Prompts
from mmovsam.vocabulary import save_classifier

NORM = dict(type='BN')
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeLongestSide', size=tiny.SIZE),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_path', 'ori_img', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """A config with weights and a vocabulary, which asks about a grid of 2 x 2 points."""
    home = tmp_path_factory.mktemp('config')
    save_safetensors(build().state_dict(), home / 'tiny.safetensors')
    save_classifier(home / 'names.safetensors', tiny.vocabulary())
    changes = dict(
        prompter=dict(type='GridPrompter', points_per_side=2),
        classifier=dict(classifier=str(home / 'names.safetensors')),
    )
    cfg = dict(
        model=tiny.merged(tiny.OVSAM, changes),
        test_pipeline=PIPELINE,
        load_from=str(home / 'tiny.safetensors'),
        text_encoder=dict(model=tiny.CLIP),
    )
    Config(cfg).dump(home / 'tiny.py')
    return home / 'tiny.py'


@pytest.fixture(scope='module')
def loaded(config):
    return OVSAMInferencer(config, device='cpu', show_progress=False)


@pytest.fixture
def inferencer(loaded):
    loaded.model.set_vocabulary(tiny.vocabulary())
    return loaded


@pytest.fixture
def folder(tmp_path):
    """Three images of different sizes, and something else."""
    random = np.random.default_rng(3)
    home = tmp_path / 'images'
    for name, shape in (('b.jpg', (60, 80)), ('a.PNG', (50, 33)), ('c.bmp', (20, 70))):
        image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
        mmcv.imwrite(image, str(home / name))
    (home / 'notes.txt').write_text('no image')
    return home


@pytest.fixture
def files(folder):
    return [str(folder / name) for name in ('a.PNG', 'b.jpg', 'c.bmp')]


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmovsam.apis.inferencer.print_log', lambda text, **kwargs: said.append(text)
    )
    return said


def same_instances(prediction, sample):
    """Whether a dict says what a data sample has."""
    found = sample.pred_instances
    masks = [coco_mask.decode(mask) for mask in prediction['masks']]
    return (
        prediction['labels'] == found.labels.tolist()
        and prediction['topk_labels'] == found.topk_labels.tolist()
        and np.allclose(prediction['bboxes'], found.bboxes)
        and np.allclose(prediction['scores'], found.scores)
        and np.allclose(prediction['topk_scores'], found.topk_scores)
        and np.array_equal(masks, found.masks.numpy())
    )


def alike(one, other):
    """Whether two dicts say the same but for the order of floating point sums in a batch."""
    masks = [[coco_mask.decode(mask) for mask in found['masks']] for found in (one, other)]
    return (
        one['topk_names'] == other['topk_names']
        and np.allclose(one['bboxes'], other['bboxes'], atol=1)
        and np.allclose(one['topk_scores'], other['topk_scores'], atol=1e-4)
        and np.shape(masks[0]) == np.shape(masks[1])
        and np.mean(np.not_equal(*masks)) < 1e-3
    )


# Results


@pytest.mark.parametrize('batch_size', [1, 2])
def test_results_are_those_of_test_step_on_the_same_files(inferencer, files, batch_size):
    assert isinstance(inferencer, DetInferencer)
    pipeline = Compose(PIPELINE)
    expected = []
    for start in range(0, 3, batch_size):
        packed = [pipeline(dict(img_path=file)) for file in files[start : start + batch_size]]
        batch = {key: [one[key] for one in packed] for key in packed[0]}
        expected += inferencer.model.test_step(batch)
    given = inferencer(files, batch_size=batch_size)
    assert set(given) == {'predictions', 'visualization'} and given['visualization'] == []
    assert [found['img_path'] for found in given['predictions']] == files
    assert all(map(same_instances, given['predictions'], expected))
    samples = inferencer(files, batch_size=batch_size, return_datasamples=True)['predictions']
    for sample, wanted in zip(samples, expected):
        assert torch.equal(sample.pred_instances.masks, wanted.pred_instances.masks)
        assert torch.equal(sample.pred_instances.scores, wanted.pred_instances.scores)


def test_labels_have_names(inferencer, files):
    (found,) = inferencer(files[0])['predictions']
    assert len(found['names']) == 4
    assert found['names'] == [tiny.NAMES[label] for label in found['labels']]
    assert found['topk_names'] == [[tiny.NAMES[i] for i in row] for row in found['topk_labels']]
    inferencer.set_vocabulary(['plum', 'heart'])
    (found,) = inferencer(files[0])['predictions']
    assert set(found['topk_names'][0]) == {'plum', 'heart'}


def test_model_without_names_calls_labels_by_their_number(tmp_path, files):
    cfg = dict(
        model=tiny.merged(tiny.SAM, dict(prompter=dict(type='GridPrompter', points_per_side=1))),
        test_pipeline=PIPELINE,
    )
    save_safetensors(MODELS.build(cfg['model']).state_dict(), tmp_path / 'sam.safetensors')
    inferencer = OVSAMInferencer(cfg, tmp_path / 'sam.safetensors', 'cpu', show_progress=False)
    given = inferencer(files[:1], out_dir=tmp_path / 'out', pred_score_thr=0)
    assert given['predictions'][0]['names'] == ['0']
    assert 'topk_names' not in given['predictions'][0]
    assert (tmp_path / 'out/vis/a.png').is_file()


# Inputs


def test_every_kind_of_input_gives_one_result(inferencer, folder, files):
    expected = inferencer(files)['predictions']
    arrays = [mmcv.imread(file) for file in files]
    for inputs in (
        folder,
        str(folder),
        str(folder / '*.[PpJjBb]*'),
        str(folder.parent / '**' / '*.[!t]*'),
        list(map(Path, files)),
        [str(folder / 'a*'), files[1], arrays[2]],
        arrays,
        list(map(Image.open, files)),
        [Path(file).as_uri() for file in files],
    ):
        found = inferencer(inputs, batch_size=2)['predictions']
        assert len(found) == 3 and all(map(alike, found, expected))


def test_files_are_fetched_from_their_address(inferencer, folder, files, tmp_path, warnings):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}'
        given = [f'{address}/b.jpg?size=full', f'{address}/none.jpg', f'{address}/notes.txt']
        found = inferencer(given, out_dir=tmp_path / 'out', no_save_pred=False)['predictions']
        server.shutdown()
    (expected,) = inferencer(files[1])['predictions']
    assert alike(found[0], expected)
    assert [result['img_path'] for result in found] == given
    assert 'none.jpg cannot be read: HTTP Error 404' in found[1]['error']
    assert 'notes.txt cannot be read' in found[2]['error'] and len(warnings) == 2
    assert sorted(path.name for path in tmp_path.glob('out/*/*')) == ['b.jpg', 'b.json']


def test_folders_of_other_file_backends_are_listed(inferencer, folder, files):
    @register_backend('shelf', prefixes='shelf', force=True)
    class Shelf(LocalBackend):
        """A folder somewhere else."""

        def _path(self, uri):
            return str(folder) + str(uri).removeprefix('shelf://images')

        def isdir(self, uri):
            return super().isdir(self._path(uri))

        def list_dir_or_file(self, uri, **kwargs):
            return super().list_dir_or_file(self._path(uri), **kwargs)

        def get_local_path(self, uri):
            return super().get_local_path(self._path(uri))

    found = inferencer('shelf://images')['predictions']
    expected = inferencer(files)['predictions']
    assert [one['img_path'] for one in found] == [f'shelf://images/{Path(f).name}' for f in files]
    assert [one['masks'] for one in found] == [one['masks'] for one in expected]


@pytest.mark.parametrize(
    'inputs, error, message',
    [
        ('none.jpg', FileNotFoundError, 'none.jpg does not exist'),
        ('none*.jpg', FileNotFoundError, r'No file fits none\*.jpg'),
        ('ftp2://host/a.jpg', ValueError, 'no file backend for ftp2://host/a.jpg'),
        (np.zeros((4, 4, 5), np.uint8), ValueError, r'image \d+ cannot be read.*\(4, 4, 5\) uint8'),
        (3, ValueError, 'An image is'),
    ],
)
def test_input_that_is_no_image_is_refused(inferencer, warnings, inputs, error, message):
    with pytest.raises(error, match=message):
        inferencer(inputs)


def test_an_address_that_nothing_reads_does_not_end_the_others(inferencer, files):
    found = inferencer(['ftp2://host/a.jpg', files[0]])['predictions']
    assert 'no file backend for ftp2://host/a.jpg' in found[0]['error']
    assert 'error' not in found[1]


def test_bytes_open_files_and_generators_are_images(inferencer, files):
    expected = inferencer(files[0])['predictions'][0]['masks']
    with open(files[0], 'rb') as file:
        data = Path(files[0]).read_bytes()
        inputs = [data, bytearray(data), io.BytesIO(data), file, (path for path in files[:1])]
        found = inferencer(inputs)['predictions']
    assert [each['masks'] for each in found] == [expected] * 5


@pytest.mark.parametrize('listing', [list_inputs, list_images])
def test_images_of_formats_that_are_not_read_are_counted(tmp_path, listing, caplog):
    for name in ('a.jpg', 'b.HEIC', 'c.heic', 'd.gif', '.e.gif', 'notes.txt'):
        (tmp_path / name).touch()
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    assert len(listing(tmp_path)) == 1
    logger.removeHandler(caplog.handler)
    assert re.search(r'3 images are left out.*1 \.gif, 2 \.heic', caplog.text)


@pytest.mark.parametrize('prefix', ['', 'file://', 'nest://'])
def test_folder_means_what_it_means_to_the_labeler(tmp_path, prefix):
    @register_backend('nest', prefixes='nest', force=True)
    class Nest(LocalBackend):
        """Local files by an address."""

        def isdir(self, uri):
            return super().isdir(uri.removeprefix('nest://'))

        def list_dir_or_file(self, uri, **kwargs):
            return super().list_dir_or_file(uri.removeprefix('nest://'), **kwargs)

    for name in ('b.jpg', 'a/2.PNG', 'a/deep/1.jpeg', 'a/notes.txt', '.hidden/4.jpg', 'a/.5.jpg'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = list_inputs(f'{prefix}{tmp_path}')
    found = [os.path.relpath(file.removeprefix(prefix), tmp_path) for file in found]
    assert found == list(list_images(tmp_path)) == ['a/2.PNG', 'a/deep/1.jpeg', 'b.jpg']


def test_folder_without_images_is_refused(inferencer, tmp_path):
    with pytest.raises(ValueError, match='has no images'):
        inferencer(tmp_path)


@pytest.mark.parametrize('batch_size', [1, 3])
def test_bad_file_is_told_and_the_others_go_on(
    inferencer, folder, files, tmp_path, warnings, batch_size
):
    expected = inferencer(files)['predictions']
    (folder / 'aa.jpg').write_bytes((folder / 'b.jpg').read_bytes()[:300])
    given = inferencer(
        folder,
        batch_size=batch_size,
        return_vis=True,
        out_dir=tmp_path / 'out',
        no_save_pred=False,
    )
    bad = given['predictions'].pop(1)
    assert len(given['predictions']) == 3 and all(map(alike, given['predictions'], expected))
    assert bad['labels'] == bad['names'] == bad['masks'] == bad['bboxes'] == []
    assert bad['img_path'] == str(folder / 'aa.jpg') and 'is truncated or no image' in bad['error']
    assert len(warnings) == 1 and bad['error'] in warnings[0]
    assert [picture is None for picture in given['visualization']] == [False, True, False, False]
    written = sorted(path.stem for path in tmp_path.glob('out/preds/*'))
    assert written == sorted(path.stem for path in tmp_path.glob('out/vis/*')) == ['a', 'b', 'c']
    (sample,) = inferencer([files[0], folder / 'aa.jpg'], return_datasamples=True)['predictions'][
        1:
    ]
    assert len(sample.pred_instances) == 0 and 'truncated' in sample.error


def test_nothing_but_bad_files_is_an_error(inferencer, folder, warnings):
    for name in ('a.PNG', 'b.jpg', 'c.bmp'):
        (folder / name).write_bytes(b'')
    with pytest.raises(ValueError, match='a.PNG is truncated'):
        inferencer(folder)
    assert len(warnings) == 3


# Prompts


def test_given_prompts_take_the_place_of_the_prompter(inferencer, files):
    predictor = OVSAMPredictor(inferencer.model)
    prompter = inferencer.model.prompter
    mix = [
        dict(box=[1, 2, 30, 18]),
        dict(point_coords=[[5, 6], [9, 9], [20, 3]], point_labels=[1, 0, 1]),
        dict(point_coords=[[5, 6]], point_labels=[1], mask_input=np.ones((1, 24, 24))),
    ]
    given = inferencer(files, batch_size=2, prompts=[mix] * 3)['predictions']
    for file, found in zip(files, given):
        predictor.set_image(file)
        expected = predictor.predict_batch(mix)
        masks = [coco_mask.decode(mask) for mask in found['masks']]
        assert (np.array(masks) != expected.masks).mean() < 1e-3
        assert found['topk_names'] == expected.names
        assert found['bboxes'][0] == [1, 2, 30, 18]  # as with any prompter: the prompt's
    assert inferencer.model.prompter is prompter
    assert len(inferencer(files[0])['predictions'][0]['masks']) == 4


def test_prompts_are_for_all_images_or_for_each(inferencer, files):
    box, point = dict(box=[1, 2, 30, 18]), dict(point_coords=[[5, 6]], point_labels=[1])
    both = Prompts(bboxes=[[1, 2, 30, 18], [3, 4, 20, 10]])
    found = inferencer(files[:2], prompts=box)['predictions']
    assert [len(one['masks']) for one in found] == [1, 1]
    for_each = inferencer(files, prompts=[box, both, [point, box, point]])['predictions']
    assert [len(one['masks']) for one in for_each] == [1, 2, 3]
    assert alike(for_each[0], found[0])
    assert inferencer(files[:1], prompts=[[]])['predictions'][0]['masks'] == []


@pytest.mark.parametrize(
    'prompts, error, message',
    [
        ([dict(box=BOX)], ValueError, 'prompts for 1 images and 2 images.*list in the list'),
        ([dict(box=BOX), None], TypeError, 'not .*None'),
        ('boxes.json', TypeError, "not 'boxes.json'"),
        (dict(box=[70, 2, 75, 9]), ValueError, r'a.PNG: Prompt 0: Box .* is outside .* 33x50'),
        ([dict(bbox=BOX), dict(box=BOX)], ValueError, 'a.PNG: Prompt 0: A prompt has no bbox'),
        ([3, dict(box=BOX)], TypeError, 'a.PNG: prompts are'),
    ],
)
def test_bad_prompts_are_refused(inferencer, files, prompts, error, message):
    with pytest.raises(error, match=message):
        inferencer(files[:2], prompts=prompts)


def test_annotations_cannot_prompt(config, files):
    inferencer = OVSAMInferencer(
        config, device='cpu', show_progress=False, prompter=dict(type='GTPrompter')
    )
    with pytest.raises(ValueError, match='prompts by annotations.*prompts='):
        inferencer(files)
    assert len(inferencer(files[0], prompts=dict(box=[1, 2, 9, 9]))['predictions'][0]['names']) == 1


def test_detector_of_the_config_prompts(tmp_path):
    inferencer = OVSAMInferencer('mini/ovsam_mini_rtmdet.py', device='cpu', show_progress=False)
    scenes = [draw_scene(np.random.default_rng([5, index]), 'test') for index in range(2)]
    for index, scene in enumerate(scenes):
        Image.fromarray(scene.image).save(tmp_path / f'{index}.png')
    from_files = inferencer(tmp_path, batch_size=2)['predictions']
    from_arrays = inferencer([scene.image[..., ::-1] for scene in scenes])['predictions']
    for scene, found, other in zip(scenes, from_files, from_arrays):
        best = found['masks'][int(np.argmax(found['scores']))]
        truth = coco_mask.encode(np.asfortranarray(np.moveaxis(scene.masks, 0, 2).astype(np.uint8)))
        assert coco_mask.iou([best], truth, [0] * len(truth)).max() > 0.7
        assert found['names'] == other['names'] and found['masks'] == other['masks']


# Pictures and JSON


def test_pictures_and_a_json_for_each_image_are_written(inferencer, files, tmp_path):
    given = inferencer(files, out_dir=tmp_path / 'out', no_save_pred=False, pred_score_thr=0)
    assert given['visualization'] == []  # not kept in memory
    paths = sorted(path.relative_to(tmp_path / 'out') for path in tmp_path.glob('out/*/*'))
    expected = ['preds/a.json', 'preds/b.json', 'preds/c.json', 'vis/a.png', 'vis/b.jpg']
    assert list(map(str, paths)) == [*expected, 'vis/c.jpg']
    for path, prediction in zip(paths[:3], given['predictions']):
        content = json.loads((tmp_path / 'out' / path).read_text())
        assert content == prediction
        assert coco_mask.decode(content['masks']).shape[2] == len(content['names']) == 4
    drawn, image = mmcv.imread(str(tmp_path / 'out/vis/a.png')), mmcv.imread(files[0])
    assert drawn.shape == image.shape and (drawn != image).any()


def test_only_what_is_wanted_is_written(inferencer, files, tmp_path):
    for number, (more, expected) in enumerate(
        [
            ({}, ['vis']),
            (dict(no_save_vis=True, no_save_pred=False), ['preds']),
            (dict(no_save_vis=True), []),
        ]
    ):
        out_dir = tmp_path / str(number)
        inferencer(files[0], out_dir=out_dir, **more)
        assert [path.name for path in out_dir.glob('*')] == expected


def test_files_of_one_name_and_arrays_keep_their_own_results(inferencer, files, tmp_path):
    image = mmcv.imread(files[1])
    for name in ('x/b.png', 'y/B.jpg'):
        mmcv.imwrite(image, str(tmp_path / name))
    inferencer.num_predicted_imgs = 0
    inputs = [files[1], tmp_path / 'x/b.png', tmp_path / 'y/B.jpg', image]
    for _ in range(2):
        inferencer(inputs, out_dir=tmp_path / 'out', no_save_pred=False)
    written = sorted(path.name for path in tmp_path.glob('out/preds/*'))
    assert written == ['00000000.json', '00000001.json', 'B_3.json', 'b.json', 'b_2.json']


def test_pictures_come_back_if_they_are_wanted(inferencer, files):
    image = mmcv.imread(files[1], channel_order='rgb')
    (plain,) = inferencer(files[1], return_vis=True, pred_score_thr=1)['visualization']
    assert np.array_equal(plain, image)
    (hidden,) = inferencer(files[1], return_vis=True, pred_score_thr=0, draw_pred=False)[
        'visualization'
    ]
    assert np.array_equal(hidden, image)
    (drawn,) = inferencer(files[1], return_vis=True, pred_score_thr=0)['visualization']
    assert drawn.shape == image.shape and (drawn != image).mean() > 0.1
    (of_array,) = inferencer(image[..., ::-1], return_vis=True, pred_score_thr=1)['visualization']
    assert np.array_equal(of_array, image)


@pytest.mark.parametrize('score_thr', [0, 1])
def test_run_lengths_of_the_model_are_drawn_and_written_too(
    inferencer, files, monkeypatch, score_thr
):
    options = dict(return_vis=True, pred_score_thr=score_thr)
    np.random.seed(0)  # MMDetection's colors of masks
    expected = inferencer(files, **options)
    monkeypatch.setitem(inferencer.model.test_cfg, 'mask_format', 'rle')
    np.random.seed(0)
    given = inferencer(files, **options)
    assert given['predictions'] == expected['predictions']
    for one, other in zip(given['visualization'], expected['visualization']):
        assert np.array_equal(one, other)


def test_results_are_printed_if_asked_for(inferencer, files, capsys):
    inferencer(files[0], print_result=True)
    assert 'topk_names' in capsys.readouterr().out


# Setting up


def test_weights_that_do_not_make_the_model_are_refused(config, tmp_path):
    cfg = Config.fromfile(config)
    cfg.load_from = None
    with pytest.raises(ValueError, match='names no weights'):
        OVSAMInferencer(cfg, device='cpu')
    with pytest.raises(FileNotFoundError, match='none.pth'):
        OVSAMInferencer(cfg, 'none.pth', device='cpu')
    torch.save({'weight': torch.zeros(1)}, tmp_path / 'wrong.pth')
    with pytest.raises(ValueError, match='Nothing in the checkpoint belongs'):
        OVSAMInferencer(config, tmp_path / 'wrong.pth', device='cpu')
    with pytest.raises(FileNotFoundError, match='no config mini/none.py'):
        OVSAMInferencer('mini/none.py')


def test_another_model_than_an_ovsam_is_refused(tmp_path):
    model = dict(
        type='RTMDet',
        backbone=dict(type='CSPNeXt', widen_factor=0.125, deepen_factor=0.1, norm_cfg=NORM),
        neck=dict(type='CSPNeXtPAFPN', in_channels=[32, 64, 128], out_channels=8, norm_cfg=NORM),
        bbox_head=dict(type='RTMDetHead', num_classes=1, in_channels=8, norm_cfg=NORM),
    )
    save_safetensors(MODELS.build(model).state_dict(), tmp_path / 'rtmdet.safetensors')
    cfg = dict(model=model, test_pipeline=PIPELINE, load_from=str(tmp_path / 'rtmdet.safetensors'))
    with pytest.raises(TypeError, match='not a RTMDet: mmdet.apis.DetInferencer'):
        OVSAMInferencer(cfg, device='cpu')
    with pytest.raises(ValueError, match=r"has no model, only \['type'\]"):
        OVSAMInferencer(dict(type='OVSAM'), device='cpu')


def test_unknown_argument_and_empty_batch_are_refused(inferencer, files):
    with pytest.raises(TypeError, match='texts'):
        inferencer(files, texts='plum')
    with pytest.raises(ValueError, match='batch_size must be at least 1, not 0'):
        inferencer(files, batch_size=0)
