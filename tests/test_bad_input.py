"""What users get wrong, from end to end: images, pipelines, and commands with several files."""

import itertools
from pathlib import Path

import pytest
import tiny
import torch
from mmdet.registry import DATASETS, MODELS
from tiny_data import annotation, dataset_config, write_data

from mmovsam.prompts import Prompts
from mmovsam.vocabulary import TextClassifier, save_classifier

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = itertools.count()


def open_data(folder, **kwargs):
    return DATASETS.build(dataset_config(folder, **kwargs))


def build(**changes):
    model = MODELS.build(tiny.merged(tiny.OVSAM, changes))
    model.set_vocabulary(tiny.vocabulary())
    return model.eval()


# Boxes and images in the model


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
def test_boxes_of_any_finite_corners_have_a_result(region, box):
    model = build(test_cfg=dict(head_region=region, clip_region=region))
    features = model.extract_feat(torch.zeros(1, 3, tiny.SIZE, tiny.SIZE))
    metainfo = dict(img_shape=(72, 96), ori_shape=(60, 80), scale_factor=(1.2, 1.2))
    prompts = Prompts(bboxes=torch.tensor([box]))
    instances = model.predict_prompts(features, prompts, metainfo)
    assert instances.masks.shape == (1, 60, 80)
    assert instances.scores.isfinite().all() and instances.topk_scores.isfinite().all()


@pytest.mark.parametrize('mode', ['box', 'center'])
@pytest.mark.parametrize('shape', [(1, 1), (1, 8000), (8000, 1), (8000, 40)])
def test_images_of_1_and_of_8000_pixels_pass_the_pipeline_and_the_model(tmp_path, shape, mode):
    write_data(tmp_path, [shape], [annotation(1, [0, 0, shape[1], shape[0]])])
    packed = open_data(tmp_path, test_mode=True)[0]
    model = build(prompter=dict(mode=mode))
    batch = dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
    instances = model.test_step(batch)[0].pred_instances
    assert instances.masks.shape == (1, *shape)
    assert instances.bboxes.isfinite().all() and instances.scores.isfinite().all()


def test_unknown_key_of_train_cfg_is_named():
    with pytest.raises(ValueError, match=r"train_cfg has no \['max_instance'\].*'max_instances'"):
        build(train_cfg=dict(max_instance=3))


# Commands


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a config, data, weights and a vocabulary that belong together."""
    write_data(
        tmp_path,
        [(40, 60), (60, 40)],
        [annotation(1, [5, 5, 20, 20]), annotation(2, [9, 9, 20, 20], image_id=2)],
    )
    model = build()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'good.pth')
    embeddings = torch.randn(2, 1, tiny.WIDTH)
    save_classifier(
        tmp_path / 'names.safetensors', TextClassifier(embeddings, ('plum', 'owl'), (False, True))
    )
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
    config = dict(
        _base_=str(ROOT / 'configs' / '_base_' / 'default_runtime.py'),
        model=tiny.merged(tiny.OVSAM, dict(classifier=dict(classifier='names.safetensors'))),
        test_dataloader=dict(
            batch_size=1,
            num_workers=kept == 0.5,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dataset_config(folder, test_mode=True),
        ),
        test_evaluator=dict(type='OpenVocabMetric'),
        test_cfg=dict(),
        visualizer=dict(
            _delete_=True,
            type='mmengine.Visualizer',
            vis_backends=[dict(type='LocalVisBackend')],
        ),
        log_level='ERROR',
        # MMEngine keeps loggers by name, and this one's output is captured for one test
        experiment_name=f'bad_input{next(NUMBERS)}',
    )
    Path('tiny.py').write_text('\n'.join(f'{key} = {value!r}' for key, value in config.items()))
    status, out, err = run_tool('test.py', 'tiny.py', checkpoint)
    _, _, error = (out + err).rpartition('error: ')
    assert status == (2 if messages else 0), out + err
    assert all(message in error for message in messages)
    assert not messages or len(error.strip().splitlines()) == 2
