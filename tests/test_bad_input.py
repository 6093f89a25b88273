"""What users get wrong, from end to end: images, pipelines, and commands with several files."""

import itertools

import pytest
import tiny
import torch
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope
from tiny_data import annotation, dataset_config, write_data, write_test_config

from mmovsam.prompts import Prompts
from mmovsam.vocabulary import TextClassifier, save_classifier


@pytest.fixture(scope='module')
def model():
    init_default_scope('mmdet')
    return tiny.build()


@torch.no_grad()
@pytest.mark.parametrize('region', ['mask', 'prompt'])
@pytest.mark.parametrize(
    'box',
    [
        [50, 40, 10, 20],
        [10, 10, 10, 10],
        [500, 500, 600, 600],
        [-50, -50, -10, -10],
        [0, 0, 1e6, 1e6],
        [1e30, 0, 1e38, 9],
    ],
)
def test_boxes_of_any_finite_corners_have_a_result(model, region, box):
    model.test_cfg.update(head_region=region, clip_region=region)
    features = model.extract_feat(torch.zeros(1, 3, tiny.SIZE, tiny.SIZE))
    metainfo = dict(img_shape=(72, 96), ori_shape=(60, 80), scale_factor=(1.2, 1.2))
    prompts = Prompts(bboxes=torch.tensor([box]))
    instances = model.predict_prompts(features, prompts, metainfo)
    assert instances.masks.shape == (1, 60, 80)
    assert instances.scores.isfinite().all() and instances.topk_scores.isfinite().all()


@pytest.mark.parametrize('mode', ['box', 'center'])
@pytest.mark.parametrize('shape', [(1, 1), (1, 8000), (8000, 1), (8000, 40)])
def test_images_of_1_and_of_8000_pixels_pass_the_pipeline_and_the_model(
    model, tmp_path, shape, mode
):
    write_data(tmp_path, [shape], [annotation(1, [0, 0, shape[1], shape[0]])])
    packed = DATASETS.build(dataset_config(tmp_path, test_mode=True))[0]
    model.prompter.mode = mode
    batch = dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
    instances = model.test_step(batch)[0].pred_instances
    assert instances.masks.shape == (1, *shape)
    assert instances.bboxes.isfinite().all() and instances.scores.isfinite().all()


@pytest.fixture
def folder(tmp_path, monkeypatch, model):
    """A working folder with data, weights and a vocabulary that belong together."""
    annotations = [annotation(1, [5, 5, 20, 20]), annotation(2, [9, 9, 20, 20], image_id=2)]
    write_data(tmp_path, [(40, 60), (60, 40)], annotations)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'good.pth')
    names = TextClassifier(torch.randn(2, 1, tiny.WIDTH), ('plum', 'owl'), (False, True))
    save_classifier(tmp_path / 'names.safetensors', names)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('MMOVSAM_TRACEBACK', raising=False)
    return tmp_path


@pytest.mark.parametrize(
    'kept, checkpoint, messages',
    [
        (1, 'good.pth', []),
        (0, 'good.pth', ['2.png', '1 of 2 images are missing']),
        (0.5, 'good.pth', ['2.png', 'is truncated or no image']),
        (1, 'part.pth', ['are not in the checkpoint']),
    ],
)
def test_what_does_not_belong_together_is_told_in_a_line_of_the_command(
    folder, run_tool, kept, checkpoint, messages
):
    path = folder / '2.png'
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))]) if kept else path.unlink()
    state = torch.load('good.pth', weights_only=True)['state_dict']
    torch.save(dict(state_dict=dict(itertools.islice(state.items(), 9))), 'part.pth')
    named = tiny.merged(tiny.OVSAM, dict(classifier=dict(classifier='names.safetensors')))
    write_test_config(
        folder / 'tiny.py', named, dataset_config(folder, test_mode=True), workers=kept == 0.5
    )
    status, out, err = run_tool('test.py', 'tiny.py', checkpoint)
    _, _, error = (out + err).rpartition('error: ')
    assert status == (2 if messages else 0), out + err
    assert all(message in error for message in messages)
    assert not messages or len(error.strip().splitlines()) == 2
