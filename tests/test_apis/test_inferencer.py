"""Images in, results out: against `model.test_step`, the predictor, and what lies on the disk."""

import functools
import http.server
import io
import json
import re
import threading
from pathlib import Path

import mmcv
import numpy as np
import pytest
import tiny
import torch
from mini_world import draw_scene
from mmdet.apis import DetInferencer
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import Compose
from PIL import Image
from pycocotools import mask as coco_mask
from small_predictor import BOX, build

from mmovsam.apis import OVSAMInferencer, OVSAMPredictor
from mmovsam.apis.input_list import list_images, list_inputs
from mmovsam.checkpoints import save_safetensors
from mmovsam.prompts import Prompts
from mmovsam.vocabulary import save_classifier

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


def same_instances(prediction, sample):
    """Whether a dict says what a data sample has."""
    found = sample.pred_instances
    masks = [coco_mask.decode(mask) for mask in prediction['masks']]
    return np.array_equal(masks, found.masks.numpy()) and all(
        np.allclose(prediction[key], found[key])
        for key in ('labels', 'topk_labels', 'bboxes', 'scores', 'topk_scores')
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
    (sample,) = inferencer(files[:1], return_datasamples=True)['predictions']
    assert torch.equal(sample.pred_instances.labels, expected[0].pred_instances.labels)


def test_labels_have_names(inferencer, files, capsys):
    (found,) = inferencer(files[0], print_result=True)['predictions']
    assert 'topk_names' in capsys.readouterr().out
    assert len(found['names']) == 4
    assert found['names'] == [tiny.NAMES[label] for label in found['labels']]
    assert found['topk_names'] == [[tiny.NAMES[i] for i in row] for row in found['topk_labels']]
    inferencer.set_vocabulary(['plum', 'heart'])
    (found,) = inferencer(files[0])['predictions']
    assert set(found['topk_names'][0]) == {'plum', 'heart'}


def test_model_without_names_calls_labels_by_their_number(tmp_path, files):
    weights = str(tmp_path / 'sam.safetensors')
    save_safetensors(MODELS.build(tiny.SAM).state_dict(), weights)
    cfg = dict(model=tiny.SAM, test_pipeline=PIPELINE, load_from=weights)
    prompter = dict(type='GridPrompter', points_per_side=1)
    inferencer = OVSAMInferencer(cfg, device='cpu', show_progress=False, prompter=prompter)
    given = inferencer(files[:1], out_dir=tmp_path / 'out', pred_score_thr=0)
    assert given['predictions'][0]['names'] == ['0']
    assert 'topk_names' not in given['predictions'][0]
    assert (tmp_path / 'out/vis/a.png').is_file()


def test_every_kind_of_input_gives_one_result(inferencer, folder, files):
    expected = inferencer(files)['predictions']
    data = [Path(file).read_bytes() for file in files]
    for inputs in (
        folder,
        str(folder / '*.[PpJjBb]*'),
        str(folder.parent / '**' / '*.[!t]*'),
        [str(folder / 'a*'), Path(files[1]), mmcv.imread(files[2])],
        (path for path in files),
        list(map(Image.open, files)),
        [data[0], bytearray(data[1]), io.BytesIO(data[2])],
        folder.as_uri(),
        [Path(file).as_uri() for file in files],
    ):
        found = inferencer(inputs, batch_size=2)['predictions']
        assert len(found) == 3 and all(map(alike, found, expected))
    assert [one['img_path'] for one in found] == files


def test_files_are_fetched_from_their_address(inferencer, folder, files, tmp_path, logged):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}'
        given = [f'{address}/b.jpg?size=full', f'{address}/none.jpg', 'ftp2://host/a.jpg']
        found = inferencer(given, out_dir=tmp_path / 'out', no_save_pred=False)['predictions']
        server.shutdown()
    (expected,) = inferencer(files[1])['predictions']
    assert alike(found[0], expected) and [result['img_path'] for result in found] == given
    assert 'none.jpg cannot be read: HTTP Error 404' in found[1]['error']
    assert (
        'no file backend for ftp2://host/a.jpg' in found[2]['error'] and len(logged.messages) == 2
    )
    assert sorted(path.name for path in tmp_path.glob('out/*/[!.]*')) == ['b.jpg', 'b.json']


@pytest.mark.parametrize(
    'inputs, error, message',
    [
        ('none.jpg', FileNotFoundError, 'no image file none.jpg'),
        ('none*.jpg', FileNotFoundError, r'No file fits none\*.jpg'),
        (np.zeros((4, 4, 5), np.uint8), ValueError, r'image \d+ cannot be read.*\(4, 4, 5\) uint8'),
        (3, ValueError, 'An image is'),
    ],
)
def test_input_that_is_no_image_is_refused(inferencer, tmp_path, inputs, error, message):
    with pytest.raises(error, match=message):
        inferencer(inputs)
    with pytest.raises(ValueError, match='has no images'):
        inferencer(tmp_path)


@pytest.mark.parametrize('listing', [list_inputs, list_images])
def test_images_of_formats_that_are_not_read_are_counted(tmp_path, listing, logged, monkeypatch):
    monkeypatch.setattr('mmovsam.heif.importlib.util.find_spec', lambda name: None)
    for name in ('a.jpg', 'b.HEIC', 'c.heic', 'd.gif', '.e.gif', 'notes.txt'):
        (tmp_path / name).touch()
    assert len(listing(tmp_path)) == 1
    found = r"3 images are left out.*1 \.gif, 2 \.heic.*pip install 'mmovsam\[heic\]'"
    assert re.search(found, logged.text)


def test_pictures_in_the_folder_are_no_images_of_the_next_call(inferencer, folder, files):
    for _ in range(2):
        assert len(inferencer(folder, out_dir=folder / 'out')['predictions']) == len(files)


@pytest.mark.parametrize('batch_size', [1, 3])
def test_bad_file_is_told_and_the_others_go_on(
    inferencer, folder, files, tmp_path, logged, batch_size
):
    expected = inferencer(files)['predictions']
    (folder / 'aa.jpg').write_bytes((folder / 'b.jpg').read_bytes()[:300])
    options = dict(return_vis=True, out_dir=tmp_path / 'out', no_save_pred=False)
    given = inferencer(folder, batch_size=batch_size, **options)
    bad = given['predictions'].pop(1)
    assert len(given['predictions']) == 3 and all(map(alike, given['predictions'], expected))
    assert bad['labels'] == bad['names'] == bad['masks'] == bad['bboxes'] == []
    assert bad['img_path'] == str(folder / 'aa.jpg') and 'is truncated or no image' in bad['error']
    assert len(logged.messages) == 1 and bad['error'] in logged.text
    assert [picture is None for picture in given['visualization']] == [False, True, False, False]
    written, shown = (
        sorted(p.stem for p in tmp_path.glob(f'out/{d}/[!.]*')) for d in ('preds', 'vis')
    )
    assert written == shown == ['a', 'b', 'c']
    with pytest.raises(ValueError, match='aa.jpg is truncated'):
        inferencer(folder / 'aa.jpg')  # none can be read


def test_given_prompts_take_the_place_of_the_prompter(inferencer, files):
    predictor, prompter = OVSAMPredictor(inferencer.model), inferencer.model.prompter
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


def test_prompts_are_for_all_images_or_for_each(inferencer, files):
    box, point = dict(box=[1, 2, 30, 18]), dict(point_coords=[[5, 6]], point_labels=[1])
    both = Prompts(bboxes=[[1, 2, 30, 18], [3, 4, 20, 10]])
    for_all = inferencer(files[:2], prompts=box)['predictions']
    for_each = inferencer(files, prompts=[box, both, [point, box, point]])['predictions']
    assert [len(one['masks']) for one in (*for_all, *for_each)] == [1, 1, 1, 2, 3]
    assert alike(for_each[0], for_all[0])
    assert inferencer(files[:1], prompts=[[]])['predictions'][0]['masks'] == []


@pytest.mark.parametrize(
    'options, error, message',
    [
        (dict(prompts=[dict(box=BOX)]), ValueError, 'for 1 images and 2 images.*list in the list'),
        (dict(prompts=[dict(box=BOX), None]), TypeError, 'not .*None'),
        (dict(prompts='boxes.json'), TypeError, "not 'boxes.json'"),
        (dict(prompts=dict(box=[70, 2, 75, 9])), ValueError, r'a.PNG: Prompt 0: .* outside .* 33x'),
        (dict(prompts=[3, dict(box=BOX)]), TypeError, 'a.PNG: prompts are'),
        (dict(batch_size=0), ValueError, 'batch_size must be at least 1, not 0'),
    ],
)
def test_bad_argument_is_refused(inferencer, files, options, error, message):
    with pytest.raises(error, match=message):
        inferencer(files[:2], **options)


def test_annotations_cannot_prompt(config, files):
    prompter = dict(type='GTPrompter')
    inferencer = OVSAMInferencer(config, device='cpu', show_progress=False, prompter=prompter)
    with pytest.raises(ValueError, match='prompts by annotations.*prompts='):
        inferencer(files)
    assert len(inferencer(files[0], prompts=dict(box=[1, 2, 9, 9]))['predictions'][0]['names']) == 1


def test_detector_of_the_config_prompts_on_files_and_arrays(tmp_path):
    inferencer = OVSAMInferencer('mini/ovsam_mini_rtmdet.py', device='cpu', show_progress=False)
    image = draw_scene(np.random.default_rng([5, 0]), 'test').image
    Image.fromarray(image).save(tmp_path / '0.png')
    (found,) = inferencer(tmp_path)['predictions']
    (other,) = inferencer(image[..., ::-1])['predictions']
    assert found['names'] == other['names'] and found['masks'] == other['masks'] != []


def test_pictures_and_a_json_for_each_image_are_written(inferencer, files, tmp_path):
    given = inferencer(files, out_dir=tmp_path / 'out', no_save_pred=False, pred_score_thr=0)
    assert given['visualization'] == []  # not kept in memory
    paths = sorted(path.relative_to(tmp_path / 'out') for path in tmp_path.glob('out/*/[!.]*'))
    expected = ['preds/a.json', 'preds/b.json', 'preds/c.json', 'vis/a.png', 'vis/b.jpg']
    assert list(map(str, paths)) == [*expected, 'vis/c.jpg']
    for path, prediction in zip(paths[:3], given['predictions']):
        content = json.loads((tmp_path / 'out' / path).read_text())
        assert content == prediction
        assert coco_mask.decode(content['masks']).shape[2] == len(content['names']) == 4
    drawn, image = mmcv.imread(str(tmp_path / 'out/vis/a.png')), mmcv.imread(files[0])
    assert drawn.shape == image.shape and (drawn != image).any()
    no_vis = dict(no_save_vis=True)
    cases = [({}, ['vis']), (dict(no_vis, no_save_pred=False), ['preds']), (no_vis, [])]
    for number, (options, expected) in enumerate(cases):
        inferencer(files[0], out_dir=tmp_path / str(number), **options)
        assert [path.name for path in (tmp_path / str(number)).glob('*')] == expected


def test_files_of_one_name_and_arrays_keep_their_own_results(inferencer, files, tmp_path):
    image = mmcv.imread(files[1])
    others = [tmp_path / 'x/b.png', tmp_path / 'y/B.jpg']
    for path in others:
        mmcv.imwrite(image, str(path))
    inferencer.num_predicted_imgs = 0
    for _ in range(2):
        options = dict(out_dir=tmp_path / 'out', no_save_pred=False, no_save_vis=True)
        inferencer([files[1], *others, image], **options)
    written = sorted(path.name for path in tmp_path.glob('out/preds/*'))
    assert written == ['00000000.json', '00000001.json', 'B_3.json', 'b.json', 'b_2.json']


def test_no_picture_replaces_its_image(inferencer, folder):
    folder.rename(folder.with_name('vis'))
    image = folder.with_name('vis') / 'b.jpg'
    before = image.read_bytes()
    with pytest.raises(ValueError, match=r'b\.jpg would replace it'):
        inferencer(str(image), out_dir=folder.parent)
    assert image.read_bytes() == before


def test_what_makes_no_ovsam_is_refused(config, tmp_path):
    cfg = Config.fromfile(config)
    cfg.load_from = None
    torch.save({'weight': torch.zeros(1)}, tmp_path / 'wrong.pth')
    torch.save(MODELS.build(tiny.DISTILLER).state_dict(), tmp_path / 'distiller.pth')
    distiller = dict(model=tiny.DISTILLER, test_pipeline=PIPELINE)
    for model, weights, error, message in [
        (cfg, None, ValueError, 'names no weights'),
        (cfg, 'none.pth', FileNotFoundError, 'none.pth'),
        (config, tmp_path / 'wrong.pth', ValueError, 'Nothing in the checkpoint belongs'),
        ('mini/none.py', None, FileNotFoundError, 'no config mini/none.py'),
        (distiller, tmp_path / 'distiller.pth', TypeError, 'not a SAM2CLIPDistiller'),
        (dict(type='OVSAM'), None, ValueError, r"has no model, only \['type'\]"),
    ]:
        with pytest.raises(error, match=message):
            OVSAMInferencer(model, weights, device='cpu')
